"""What the scripts of figures and tables share: select rows, draw or write them, and the rows beside it as CSV."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nndefense.command import Job, parser, run
from nndefense.files import write_text
from nndefense.retrieval.rows import collect_rows, write_rows

Rows = Sequence[Mapping[str, Any]]
Base = Mapping[str, Any]


def row_options(description: str | None, *kinds: str) -> argparse.ArgumentParser:
    """Options of a script that makes something of accuracy rows: `--accuracy`, `--base`, `--csv` and the `kinds`."""
    options = parser(description)
    options.add_argument("--accuracy", nargs="+", required=True, help="CSV files of accuracy rows")
    options.add_argument("--base", required=True, help="values that are held fixed, as JSON")
    options.add_argument("--csv", required=True, help="rows that are shown")
    for kind in kinds:
        options.add_argument(f"--{kind}", required=True)
    return options


def publish_table(
    description: str | None,
    select: Callable[[Rows, Base], Rows],
    markdown: Callable[[Rows, Base], str],
    latex: Callable[[Rows, Base], str],
) -> None:
    """The whole script of a table: rows in, Markdown and LaTeX and the rows it shows out."""

    def main(arguments: argparse.Namespace, job: Job) -> None:
        base = json.loads(arguments.base)
        rows = select(collect_rows(arguments.accuracy), base)
        write_rows(arguments.csv, rows)
        write_text(arguments.tex, latex(rows, base))
        write_text(arguments.md, markdown(rows, base))
        job.say(f"{len(rows)} rows")

    run(main, row_options(description, "md", "tex").parse_args())
