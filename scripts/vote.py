"""Answer packs of query sets by votes of neighbours, for every pool, size, K, weighting and combination."""

import argparse
import json

import numpy as np

from nndefense.axes.cells import NEIGHBORS, System
from nndefense.axes.queries import Pack, QuerySet
from nndefense.core.command import Job, parser, run
from nndefense.database.lists import read_lists
from nndefense.database.softmax_store import SoftmaxStore
from nndefense.database.stored_softmax import open_stores
from nndefense.evaluation.doubts import database_doubts, read_copies
from nndefense.evaluation.outcomes import read_queries, write_predictions
from nndefense.retrieval.votes import vote_neighbors


def answer(
    arguments: argparse.Namespace,
    pack: Pack,
    pool: str,
    sizes: list[int],
    ids: np.ndarray,
    store: SoftmaxStore,
    job: Job,
) -> dict[tuple[QuerySet, System], np.ndarray]:
    """Predicted classes (n,) by query set and system; ids: a pack's neighbours in a pool, as of `read_ladder`."""
    predicted = {}
    for queries, ladder in zip(pack, ids, strict=True):
        for size, nearest in zip(sizes, ladder, strict=True):
            votes, fallbacks = vote_neighbors(
                store.take,
                nearest,
                classes=store.classes,
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
    copies = read_copies(arguments.clean, arguments.pixels, arguments.left_out)
    for pool, sizes in zip(arguments.pools, arguments.sizes, strict=True):
        job.say(f"{pool}: {copies.within(pool, max(sizes)):,} test images are in the database, pixel by pixel")
    packs = len(arguments.names)
    for number, name in enumerate(arguments.names):
        pack, path = Pack.parse(name), arguments.queries[number]
        stored, predicted, doubts = read_queries(path, pack), {}, {}
        first = copies.of(stored.rows)
        files = arguments.neighbors[number::packs]
        for pool, sizes, lists in zip(arguments.pools, arguments.sizes, files, strict=True):
            found = read_lists(lists, sizes, "ids", "near")
            predicted |= answer(arguments, pack, pool, sizes, found["ids"], stores[pool], job)
            doubts |= database_doubts(found, pool, sizes, first[pool], pack, max(arguments.k))
        write_predictions(
            arguments.predictions[number], stored.labels, stored.rows, predicted, stored.delta, stored.doubts | doubts
        )
        job.say(f"{name}: {len(predicted)} cells of {len(stored.labels):,} queries")


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
    options.add_argument("--clean", required=True, help="the clean query set, .npz, with the sums of its pixels")
    options.add_argument("--pixels", nargs="+", required=True, help="sums of the pixels of all images of the pools")
    options.add_argument("--left-out", nargs="*", default=[], help="rows of the shards that are not searched")
    options.add_argument("--k", nargs="+", type=int, default=[50], help="numbers of neighbours")
    options.add_argument("--weightings", nargs="+", default=["UW", "CBW-E", "CBW-D"])
    options.add_argument("--combinations", nargs="+", default=["soft", "hard"])
    options.add_argument("--layer", required=True)
    options.add_argument("--predictions", nargs="+", required=True, help=".npz to write, of each pack")
    run(main, options.parse_args())
