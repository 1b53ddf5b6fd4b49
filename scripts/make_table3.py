"""Make table 3: sizes of the features by layer beside the paper's."""

import argparse

from nndefense.command import Job, parser, run
from nndefense.files import read_json, write_text
from nndefense.report.table3 import COLUMNS, as_latex, as_markdown, table3_rows
from nndefense.retrieval.rows import write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    measured = read_json(arguments.sizes)
    rows = table3_rows(measured["layers"])
    write_rows(arguments.csv, rows, COLUMNS)
    write_text(arguments.tex, as_latex(rows))
    write_text(arguments.md, as_markdown(rows, measured["reference"]))
    job.say(f"table 3 from {len(rows)} rows")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--sizes", required=True, help="JSON of measure_layers.py")
    options.add_argument("--csv", required=True)
    options.add_argument("--md", required=True)
    options.add_argument("--tex", required=True)
    run(main, options.parse_args())
