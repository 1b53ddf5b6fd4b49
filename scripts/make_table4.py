"""Make table 4: soft against hard combination."""

import argparse
import json

from nndefense.command import Job, parser, run
from nndefense.files import write_text
from nndefense.report.table4 import as_latex, as_markdown, select_table4
from nndefense.retrieval.rows import collect_rows, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    base = json.loads(arguments.base)
    rows = select_table4(collect_rows(arguments.accuracy), base)
    write_rows(arguments.csv, rows)
    write_text(arguments.tex, as_latex(rows, base))
    write_text(arguments.md, as_markdown(rows, base))
    job.say(f"table 4 from {len(rows)} rows")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--accuracy", nargs="+", required=True, help="CSV files of accuracy rows")
    options.add_argument("--base", required=True, help="values that the table holds fixed, as JSON")
    options.add_argument("--csv", required=True)
    options.add_argument("--md", required=True)
    options.add_argument("--tex", required=True)
    run(main, options.parse_args())
