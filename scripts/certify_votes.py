"""Certify the votes of neighbours on clean images against insertions into the database, in all cells of `vote`."""

import argparse
import json

import numpy as np

from nndefense.axes.cells import NEIGHBORS, System
from nndefense.certificates.poisoning import certify_neighbors
from nndefense.core.arrays import read_arrays
from nndefense.core.command import Job, parser, run
from nndefense.database.lists import read_ladder
from nndefense.database.stored_softmax import open_stores
from nndefense.evaluation.certified import write_certificates


def main(arguments: argparse.Namespace, job: Job) -> None:
    stored = read_arrays(arguments.queries, "labels", "rows")
    stores = open_stores(arguments.softmax, arguments.weights, arguments.checks)
    found: dict[System, tuple[np.ndarray, np.ndarray]] = {}
    for pool, sizes, path in zip(arguments.pools, arguments.sizes, arguments.neighbors, strict=True):
        for size, ids in zip(sizes, read_ladder(path, sizes)[0], strict=True):
            certified = certify_neighbors(
                stores[pool].take,
                ids,
                classes=stores[pool].classes,
                neighbors=arguments.k,
                weightings=arguments.weightings,
                combinations=arguments.combinations,
            )
            for (k, weighting, combination), one in certified.items():
                found[System(pool, size, arguments.layer, k, weighting, combination, NEIGHBORS)] = one
    write_certificates(arguments.certificates, stored["labels"], stored["rows"], found)
    job.say(f"{len(found)} cells of {len(stored['labels']):,} queries")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--queries", required=True, help="the clean images, .npz")
    options.add_argument("--pools", nargs="+", required=True, help="names of the pools")
    options.add_argument("--sizes", nargs="+", type=json.loads, required=True, help="their sizes, JSON lists")
    options.add_argument("--neighbors", nargs="+", required=True, help="their lists of neighbours, in the same order")
    options.add_argument("--softmax", nargs="+", required=True, help="softmax rows of all shards")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--checks", nargs="+", required=True, help="checks of the softmax rows, in the same order")
    options.add_argument("--k", nargs="+", type=int, default=[50], help="numbers of neighbours")
    options.add_argument("--weightings", nargs="+", default=["UW", "CBW-E", "CBW-D"])
    options.add_argument("--combinations", nargs="+", default=["soft", "hard"])
    options.add_argument("--layer", required=True)
    options.add_argument("--certificates", required=True, help=".npz to write")
    run(main, options.parse_args())
