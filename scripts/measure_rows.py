"""Measure the answers of a system: result rows of one evaluation kind."""

import argparse

from nndefense.axes.queries import Pack
from nndefense.core.command import Job, parser, run
from nndefense.core.registry import load
from nndefense.evaluation.outcomes import read_predictions
from nndefense.evaluation.rows import AXES, rows_of, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    kind = load(arguments.target)
    answers = read_predictions(arguments.predictions, arguments.system, Pack.parse(arguments.queries_name))
    facts = {"dataset": arguments.dataset, "seed": arguments.seed, "model": arguments.model}
    rows = rows_of(kind, answers, facts)
    write_rows(arguments.output, rows, (*AXES, *kind.columns))
    job.say(f"{len(rows)} rows")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--predictions", required=True, help="answers, .npz")
    options.add_argument("--target", required=True, help="the evaluation kind, MODULE:NAME")
    options.add_argument("--system", required=True, help="layer or defence")
    options.add_argument("--queries-name", required=True, help="clean, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]")
    options.add_argument("--dataset", required=True)
    options.add_argument("--model", required=True)
    options.add_argument("--seed", type=int, default=1, help="for the result rows")
    options.add_argument("--output", required=True, help="CSV to write")
    run(main, options.parse_args())
