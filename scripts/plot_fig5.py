"""Plot figures 5, 9 and 10: accuracy against database size."""

import argparse
import json

from nndefense.command import Job, parser, run
from nndefense.files import write_bytes
from nndefense.report.fig5 import draw_fig5, select_fig5
from nndefense.report.style import figure_bytes
from nndefense.retrieval.rows import collect_rows, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    base = json.loads(arguments.base)
    rows = select_fig5(collect_rows(arguments.accuracy), base)
    figure = draw_fig5(rows, base)
    write_bytes(arguments.pdf, figure_bytes(figure, "pdf"))
    write_bytes(arguments.png, figure_bytes(figure, "png"))
    write_rows(arguments.csv, rows)
    job.say(f"{base['attack']}: {len(rows)} rows")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--accuracy", nargs="+", required=True, help="CSV files of accuracy rows")
    options.add_argument("--base", required=True, help="values that the figure holds fixed, as JSON")
    options.add_argument("--csv", required=True, help="rows that the figure shows")
    options.add_argument("--pdf", required=True)
    options.add_argument("--png", required=True)
    run(main, options.parse_args())
