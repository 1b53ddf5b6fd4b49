"""Collect accuracy rows into one table."""

import argparse

from nndefense.command import Job, parser, run
from nndefense.retrieval.rows import collect_rows, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    rows = collect_rows(arguments.parts)
    write_rows(arguments.output, rows)
    job.say(f"{len(rows):,} rows from {len(arguments.parts)} files")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", required=True, help="CSV files of rows")
    options.add_argument("--output", required=True, help="CSV to write")
    run(main, options.parse_args())
