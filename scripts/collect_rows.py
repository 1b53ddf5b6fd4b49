"""Collect the result rows of an evaluation kind into one table."""

import argparse
import json

from nndefense.core.command import Job, parser, run
from nndefense.core.registry import load
from nndefense.evaluation.rows import AXES, collect_rows, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    kind = load(arguments.target)
    rows = collect_rows(arguments.parts, kind, json.loads(arguments.facts))
    write_rows(arguments.output, rows, (*AXES, *kind.columns))
    job.say(f"{len(rows):,} rows from {len(arguments.parts)} files")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--parts", nargs="+", required=True, help="answers (.npz), or rows (.csv)")
    options.add_argument("--facts", default="{}", help="columns dataset and seed of answers' rows, as JSON")
    options.add_argument("--target", required=True, help="the evaluation kind, MODULE:NAME")
    options.add_argument("--output", required=True, help="CSV to write")
    run(main, options.parse_args())
