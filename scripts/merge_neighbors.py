"""Merge neighbour lists of a pool's spans into those of every database size: (query sets, sizes, queries, k)."""

import argparse

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.database.merge import merge_neighbors


def flat_lists(values: np.ndarray) -> np.ndarray:
    """(sets, queries, k) as (sets * queries, k)."""
    return values.reshape(-1, values.shape[-1])


def merge(paths: list[str], sizes: list[int], k: int) -> dict[str, np.ndarray]:
    """Lists of the nearest in the first `sizes` rows, of one pack; paths: its lists in each span, in their order."""
    before, met, found, near = [], False, [], []
    for path in paths:
        span = read_arrays(path, "stops", "ids", "distances", "near")
        lists = [
            tuple(flat_lists(span[name][:, stop]) for name in ("ids", "distances"))
            for stop in range(len(span["stops"]))
        ]
        for place, (stop, own) in enumerate(zip(span["stops"].tolist(), lists, strict=True)):
            if stop in sizes:
                found.append(merge_neighbors([*before, own], k))
                near.append(span["near"][:, place] | met)
        before, met = [merge_neighbors([*before, lists[-1]], k)], span["near"][:, -1] | met
    if len(found) != len(sizes):
        raise InputError(f"{paths[-1]}: lists of {len(found)} of the sizes {', '.join(map(str, sizes))}")
    sets, _, queries, _ = span["ids"].shape
    ids, distances = (np.stack([one[part].reshape(sets, queries, k) for one in found], axis=1) for part in (0, 1))
    return {"stops": np.array(sizes), "ids": ids, "distances": distances, "near": np.stack(near, axis=1)}


def main(arguments: argparse.Namespace, job: Job) -> None:
    packs = len(arguments.output)
    for number, output in enumerate(arguments.output):
        write_arrays(output, **merge(arguments.spans[number::packs], arguments.sizes, arguments.neighbors))
    job.say(f"{packs} packs of {len(arguments.spans) // packs} spans, {len(arguments.sizes)} sizes")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--spans", nargs="+", required=True, help="neighbour lists: of each span all packs")
    options.add_argument("--sizes", nargs="+", type=int, required=True, help="database sizes wanted, ascending")
    options.add_argument("--neighbors", type=int, default=100, help="neighbours kept per query")
    options.add_argument("--output", nargs="+", required=True, help=".npz to write, of each pack")
    run(main, options.parse_args())
