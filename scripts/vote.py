"""Predict by votes of neighbours for every pool, size, K, weighting and combination, and measure accuracy."""

import argparse

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.database.stored_softmax import open_stores
from nndefense.files import read_arrays, write_arrays
from nndefense.retrieval.accuracy import accuracy_row
from nndefense.retrieval.queries import delta_of, query_axes
from nndefense.retrieval.rows import write_rows
from nndefense.retrieval.votes import vote_neighbors


def main(arguments: argparse.Namespace, job: Job) -> None:
    queries = read_arrays(arguments.queries)
    stores = open_stores(arguments.softmax, arguments.weights)
    axes = query_axes(arguments.queries_name) | {
        "dataset": arguments.dataset,
        "seed": arguments.seed,
        "model": arguments.model,
        "features": arguments.layer,
        "defense": "knn",
    }
    delta = delta_of(queries, axes["space"])
    rows, predicted = [], {}
    for pool, path in zip(arguments.pools, arguments.neighbors, strict=True):
        merged = read_arrays(path, "sizes", "ids")
        for size, ids in zip(merged["sizes"].tolist(), merged["ids"], strict=True):
            votes, fallbacks = vote_neighbors(
                stores[pool].take,
                ids,
                classes=stores[pool].classes,
                neighbors=arguments.neighbors_used,
                weightings=arguments.weightings,
                combinations=arguments.combinations,
            )
            for (neighbors, weighting), count in fallbacks.items():
                if count:
                    job.say(f"{pool} N={size} K={neighbors} {weighting}: {count} queries without weight, UW used")
            for (neighbors, weighting, combination), classes in votes.items():
                predicted[f"{pool}/{size}/{neighbors}/{weighting}/{combination}"] = classes.astype(np.int16)
                rows.append(
                    accuracy_row(
                        classes,
                        queries["labels"],
                        delta,
                        pool=pool,
                        size=size,
                        neighbors=neighbors,
                        weighting=weighting,
                        combination=combination,
                        **axes,
                    )
                )
    write_arrays(arguments.predictions, labels=queries["labels"], rows=queries["rows"], **predicted)
    write_rows(arguments.accuracy, rows)
    job.say(f"{len(rows)} rows of {len(queries['labels']):,} queries")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--queries", required=True, help="query set, .npz")
    options.add_argument("--queries-name", required=True, help="clean, or space/setting/attack/eps-EPSILON")
    options.add_argument("--pools", nargs="+", required=True, help="names of the pools")
    options.add_argument("--neighbors", nargs="+", required=True, help="their merged neighbours, in the same order")
    options.add_argument("--softmax", nargs="+", required=True, help="softmax rows of all shards")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--neighbors-used", nargs="+", type=int, default=[50], help="numbers of neighbours K")
    options.add_argument("--weightings", nargs="+", default=["UW", "CBW-E", "CBW-D"])
    options.add_argument("--combinations", nargs="+", default=["soft", "hard"])
    options.add_argument("--dataset", required=True)
    options.add_argument("--model", required=True)
    options.add_argument("--layer", required=True)
    options.add_argument("--seed", type=int, default=1, help="for the result rows")
    options.add_argument("--predictions", required=True, help=".npz to write")
    options.add_argument("--accuracy", required=True, help="CSV to write")
    run(main, options.parse_args())
