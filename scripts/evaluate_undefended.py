"""Measure the accuracy of the model itself on a query set, the baseline of every defence."""

import argparse

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.files import read_array, read_arrays, write_arrays
from nndefense.retrieval.accuracy import accuracy_row
from nndefense.retrieval.queries import delta_of, query_axes
from nndefense.retrieval.rows import write_rows

UNDEFENDED = {
    "pool": "none",
    "size": 0,
    "features": "none",
    "neighbors": 0,
    "weighting": "none",
    "combination": "none",
    "defense": "none",
}


def main(arguments: argparse.Namespace, job: Job) -> None:
    queries = read_arrays(arguments.queries)
    softmax, _ = read_array(arguments.softmax)
    axes = query_axes(arguments.queries_name)
    predictions = softmax.argmax(1)
    row = accuracy_row(
        predictions,
        queries["labels"],
        delta_of(queries, axes["space"]),
        dataset=arguments.dataset,
        seed=arguments.seed,
        model=arguments.model,
        **axes,
        **UNDEFENDED,
    )
    write_arrays(
        arguments.predictions,
        labels=queries["labels"],
        rows=queries["rows"],
        undefended=predictions.astype(np.int16),
    )
    write_rows(arguments.accuracy, [row])
    job.say(f"accuracy {row['accuracy']:.4f}, n = {row['n']:,}")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--queries", required=True, help="query set, .npz")
    options.add_argument("--queries-name", required=True, help="clean, or space/setting/attack/eps-EPSILON")
    options.add_argument("--softmax", required=True, help="softmax rows of the query set, .npy")
    options.add_argument("--dataset", required=True)
    options.add_argument("--model", required=True)
    options.add_argument("--seed", type=int, default=1, help="for the result rows")
    options.add_argument("--predictions", required=True, help=".npz to write")
    options.add_argument("--accuracy", required=True, help="CSV to write")
    run(main, options.parse_args())
