"""Gather the dictionaries of all clusters in their order, and that of all images as the last."""

import argparse

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.dictionaries.stored_clusters import read_clusters


def main(arguments: argparse.Namespace, job: Job) -> None:
    clusters = read_clusters(arguments.clusters)
    parts = [read_arrays(path, "filters", "objectives", "places") for path in arguments.parts]
    places, filters, objectives = (
        np.concatenate([one[name] for one in parts]) for name in ("places", "filters", "objectives")
    )
    if sorted(places.tolist()) != list(range(len(clusters.classes) + 1)):
        raise InputError(
            f"dictionaries of clusters {', '.join(map(str, sorted(places.tolist())))}; needed: each of 0 to "
            f"{len(clusters.classes) - 1} once, and {len(clusters.classes)}, that of all images"
        )
    order = np.argsort(places)
    filters, objectives = filters[order], objectives[order]
    write_arrays(arguments.output, filters=filters, low_pass=np.array(arguments.low_pass), objectives=objectives)
    job.say(f"{len(filters)} dictionaries of {filters.shape[1]} filters")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--clusters", required=True, help=".npz of find_clusters")
    options.add_argument("--parts", nargs="+", required=True, help=".npz of learn_dictionaries")
    options.add_argument("--low-pass", type=float, required=True, help="weight that they were learnt with")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
