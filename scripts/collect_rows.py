"""Collect the result rows of an evaluation kind into one table."""

import argparse

from nndefense.core.command import Job, parser, run
from nndefense.core.registry import load
from nndefense.evaluation.rows import AXES, collect_rows, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    kind = load(arguments.target)
    rows = collect_rows(arguments.parts, kind)
    write_rows(arguments.output, rows, (*AXES, *kind.columns))
    job.say(f"{len(rows):,} rows from {len(arguments.parts)} files")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", required=True, help="CSV files of rows")
    options.add_argument("--target", required=True, help="the evaluation kind, MODULE:NAME")
    options.add_argument("--output", required=True, help="CSV to write")
    run(main, options.parse_args())
