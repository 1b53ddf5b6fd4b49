"""Measure the answers of a system to all its query sets together: result rows of a summary."""

import argparse

from nndefense.core.command import Job, parser, run
from nndefense.core.registry import load
from nndefense.evaluation.outcomes import place_of, read_predictions
from nndefense.evaluation.rows import AXES, summary_rows, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    summary = load(arguments.target)
    answers = [one for path in arguments.predictions for one in read_predictions(path, *place_of(path, arguments.root))]
    rows = summary_rows(
        summary, answers, {"dataset": arguments.dataset, "seed": arguments.seed, "model": arguments.model}
    )
    write_rows(arguments.output, rows, (*AXES, *summary.columns))
    job.say(f"{len(rows)} rows of {len(answers):,} answers")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--predictions", nargs="+", required=True, help="answers, .npz, of one layer or defence")
    options.add_argument("--root", required=True, help="folder that holds LAYER or DEFENCE/QUERIES.npz")
    options.add_argument("--target", required=True, help="the summary, MODULE:NAME")
    options.add_argument("--dataset", required=True)
    options.add_argument("--model", required=True)
    options.add_argument("--seed", type=int, default=1, help="for the result rows")
    options.add_argument("--output", required=True, help="CSV to write")
    run(main, options.parse_args())
