"""Answer packs of query sets by votes of neighbours, for every pool, size, K, weighting and combination."""

import argparse
import json

import numpy as np

from nndefense.axes.cells import NEIGHBORS, System
from nndefense.axes.queries import Pack
from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_arrays
from nndefense.database.lists import read_ladder
from nndefense.database.stored_softmax import open_stores
from nndefense.evaluation.outcomes import write_predictions
from nndefense.retrieval.votes import vote_neighbors


def answer(arguments: argparse.Namespace, pack: Pack, paths: list[str], stores: dict, job: Job) -> dict:
    """Predicted classes (n,) by query set and system; paths: a pack's neighbours in every pool."""
    predicted = {}
    for pool, sizes, path in zip(arguments.pools, arguments.sizes, paths, strict=True):
        for queries, ladder in zip(pack, read_ladder(path, sizes), strict=True):
            for size, ids in zip(sizes, ladder, strict=True):
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
    return predicted


def main(arguments: argparse.Namespace, job: Job) -> None:
    stores = open_stores(arguments.softmax, arguments.weights, arguments.checks)
    packs = len(arguments.names)
    for number, name in enumerate(arguments.names):
        pack, path = Pack.parse(name), arguments.queries[number]
        stored = read_arrays(path, "labels", "rows", *(f"{one.member}/delta_{one.ball}" for one in pack if one.ball))
        predicted = answer(arguments, pack, arguments.neighbors[number::packs], stores, job)
        zeros = np.zeros(len(stored["labels"]))
        delta = {one: stored[f"{one.member}/delta_{one.ball}"] if one.ball else zeros for one in pack}
        write_predictions(arguments.predictions[number], stored["labels"], stored["rows"], predicted, delta)
        job.say(f"{name}: {len(predicted)} cells of {len(stored['labels']):,} queries")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument(
        "--names", nargs="+", required=True, help="clean, or BALL/THREAT/ATTACK/eps-EPSILON[,EPSILON...]"
    )
    options.add_argument("--queries", nargs="+", required=True, help="their query sets (.npz), in the same order")
    options.add_argument("--pools", nargs="+", required=True, help="names of the pools")
    options.add_argument("--sizes", nargs="+", type=json.loads, required=True, help="their sizes, JSON lists")
    options.add_argument("--neighbors", nargs="+", required=True, help="lists of neighbours: of each pool all packs")
    options.add_argument("--softmax", nargs="+", required=True, help="softmax rows of all shards")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--checks", nargs="+", required=True, help="checks of the softmax rows, in the same order")
    options.add_argument("--k", nargs="+", type=int, default=[50], help="numbers of neighbours")
    options.add_argument("--weightings", nargs="+", default=["UW", "CBW-E", "CBW-D"])
    options.add_argument("--combinations", nargs="+", default=["soft", "hard"])
    options.add_argument("--layer", required=True)
    options.add_argument("--predictions", nargs="+", required=True, help=".npz to write, of each pack")
    run(main, options.parse_args())
