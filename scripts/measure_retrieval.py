"""Measure a retrieval: recall@1 of the base and of the smoothed model, certified, and under attack, as result rows."""

import argparse

import numpy as np

from nndefense.certificates.base import nearest_label
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.evaluation.certified import COLUMNS
from nndefense.evaluation.guarded import (
    RULES,
    Draws,
    attacked_rows,
    certified_rows,
    decision_of,
    guard_cell,
    open_galleries,
    share_row,
    smoothed_answers,
)
from nndefense.evaluation.rows import AXES, write_rows


def main(arguments: argparse.Namespace, job: Job) -> None:
    base, smoothed, _ = open_galleries(arguments.gallery)
    queries = read_arrays(arguments.base, "embeddings", "labels", "rows")
    draws = Draws(arguments.draws)
    answers = smoothed_answers(draws, smoothed)
    answers["base"] = nearest_label(queries["embeddings"].astype(np.float64), base)
    cells = {rule: guard_cell(arguments.task, len(base.labels), arguments.embedding, rule) for rule in RULES}
    rows = [share_row(cells[rule], answers[rule] == queries["labels"], draws.sigma) for rule in RULES]
    for name, path in zip(arguments.names, arguments.certificates, strict=True):
        rows += certified_rows(cells[decision_of(name)], name, path, arguments.radii)
    for path in arguments.attacked:
        for rule in RULES:
            rows += attacked_rows(cells[rule], path, rule, draws.sigma)
    write_arrays(arguments.answers, labels=queries["labels"], rows=queries["rows"], **answers)
    facts = {"dataset": arguments.dataset, "seed": arguments.seed, "model": arguments.model_name}
    tidy = [{**facts, **cell._asdict(), **values} for cell, values in rows]
    write_rows(arguments.output, tidy, (*AXES, *COLUMNS))
    job.say(f"{len(rows)} rows of {len(queries['labels']):,} queries")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--task", required=True, help="its name")
    options.add_argument("--embedding", required=True, help="its name")
    options.add_argument("--model-name", required=True, help="the network's name")
    options.add_argument("--dataset", required=True)
    options.add_argument("--gallery", required=True, help="vectors of the gallery, .npz")
    options.add_argument("--base", required=True, help="the queries, .npz")
    options.add_argument("--draws", required=True, help="embeddings of their noisy copies, .npy")
    options.add_argument("--certificates", nargs="+", required=True, help="what certificates say, .npz")
    options.add_argument("--names", nargs="+", required=True, help="their names, in the same order")
    options.add_argument("--attacked", nargs="*", default=[], help="answers under attack, .npz")
    options.add_argument("--radii", type=float, nargs="+", required=True, help="radii of certified recall")
    options.add_argument("--seed", type=int, default=1, help="for the result rows")
    options.add_argument("--answers", required=True, help="classes of the queries by every decision, .npz to write")
    options.add_argument("--output", required=True, help="CSV to write")
    run(main, options.parse_args())
