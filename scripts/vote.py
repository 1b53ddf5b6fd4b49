"""Answer a pack of query sets by votes of neighbours, for every pool, size, K, weighting and combination."""

import argparse

import numpy as np

from nndefense.axes.cells import NEIGHBORS, System
from nndefense.axes.queries import Pack
from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_arrays
from nndefense.database.stored_softmax import open_stores
from nndefense.evaluation.outcomes import write_predictions
from nndefense.retrieval.votes import vote_neighbors


def main(arguments: argparse.Namespace, job: Job) -> None:
    pack = Pack.parse(arguments.queries_name)
    names = [f"{one.member}/delta_{one.ball}" for one in pack if one.ball]
    stored = read_arrays(arguments.queries, "labels", "rows", *names)
    stores = open_stores(arguments.softmax, arguments.weights)
    predicted = {}
    for pool, path in zip(arguments.pools, arguments.neighbors, strict=True):
        merged = read_arrays(path, "sizes", "ids")
        for queries, ladder in zip(pack, merged["ids"], strict=True):
            for size, ids in zip(merged["sizes"].tolist(), ladder, strict=True):
                votes, fallbacks = vote_neighbors(
                    stores[pool].take,
                    ids,
                    classes=stores[pool].classes,
                    neighbors=arguments.k,
                    weightings=arguments.weightings,
                    combinations=arguments.combinations,
                )
                for (k, weighting), count in fallbacks.items():
                    if count:
                        place = f"{queries} {pool} N={size} K={k}"
                        job.say(f"{place} {weighting}: {count} queries without weight, UW used")
                for (k, weighting, combination), classes in votes.items():
                    system = System(pool, size, arguments.layer, k, weighting, combination, NEIGHBORS)
                    predicted[queries, system] = classes
    zeros = np.zeros(len(stored["labels"]))
    delta = {one: stored[f"{one.member}/delta_{one.ball}"] if one.ball else zeros for one in pack}
    write_predictions(arguments.predictions, stored["labels"], stored["rows"], predicted, delta)
    job.say(f"{len(predicted)} cells of {len(stored['labels']):,} queries")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--queries", required=True, help="query sets, .npz")
    options.add_argument("--queries-name", required=True, help="clean, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]")
    options.add_argument("--pools", nargs="+", required=True, help="names of the pools")
    options.add_argument("--neighbors", nargs="+", required=True, help="their merged neighbours, in the same order")
    options.add_argument("--softmax", nargs="+", required=True, help="softmax rows of all shards")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--k", nargs="+", type=int, default=[50], help="numbers of neighbours")
    options.add_argument("--weightings", nargs="+", default=["UW", "CBW-E", "CBW-D"])
    options.add_argument("--combinations", nargs="+", default=["soft", "hard"])
    options.add_argument("--layer", required=True)
    options.add_argument("--predictions", required=True, help=".npz to write")
    run(main, options.parse_args())
