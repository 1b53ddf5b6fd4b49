"""What the scripts of figures share; apart from that of tables, so that a change of style reruns figures alone."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from nndefense.command import Job, run
from nndefense.files import write_bytes
from nndefense.publish import Base, Rows, row_options
from nndefense.report.style import figure_bytes
from nndefense.retrieval.rows import collect_rows, write_rows


def publish_figure(
    description: str | None, select: Callable[[Rows, Base], Rows], draw: Callable[[Rows, Base], Any]
) -> None:
    """The whole script of a figure: rows in, PDF and PNG and the rows it shows out."""

    def main(arguments: argparse.Namespace, job: Job) -> None:
        base = json.loads(arguments.base)
        rows = select(collect_rows(arguments.accuracy), base)
        figure = draw(rows, base)
        write_bytes(arguments.pdf, figure_bytes(figure, "pdf"))
        write_bytes(arguments.png, figure_bytes(figure, "png"))
        write_rows(arguments.csv, rows)
        job.say(f"{base['attack']}: {len(rows)} rows")

    run(main, row_options(description, "pdf", "png").parse_args())
