"""Gather what a white-box attacker takes from a database: neighbours of each clean image, their softmax rows, codes.

The attacker's database is a union of shards; its neighbours are those of the union (Dubey et al. 2019, §6.1).
"""

import argparse

import numpy as np

from nndefense.core.arrays import read_array, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.database.lists import read_lists
from nndefense.database.merge import merge_neighbors
from nndefense.database.stored_softmax import open_stores


def gather_codes(paths: list[str], ids: np.ndarray) -> np.ndarray:
    """Codes (Q, K, d) of the database images `ids` (Q, K); 0 where there is none (-1)."""
    gathered = None
    for path in paths:
        codes, about = read_array(path, mapped=True)
        if gathered is None:
            gathered = np.zeros((*ids.shape, codes.shape[1]), np.float32)
        here = (ids >= about["start"]) & (ids < about["stop"])
        gathered[here] = codes[ids[here] - about["start"]]
    return gathered


def main(arguments: argparse.Namespace, job: Job) -> None:
    # The one set of the clean images.
    spans = [read_lists(path, [stop]) for path, stop in zip(arguments.lists, arguments.stops, strict=True)]
    ids, _ = merge_neighbors([(one["ids"][0, 0], one["distances"][0, 0]) for one in spans], arguments.neighbors)
    (store,) = open_stores(arguments.softmax, arguments.weights, arguments.checks).values()
    softmax, _, valid = store.take(ids)
    codes = gather_codes(arguments.codes, ids)
    # Places without a neighbour (a database smaller than K) must not pull the mean towards zero; of none there is none.
    share = np.divide(valid, valid.sum(1, keepdims=True), out=np.full(valid.shape, np.nan), where=valid.any(1)[:, None])
    mean = np.einsum("qk,qkd->qd", share, codes)[:, None, :].astype(np.float32)
    images = sum(stop - start for start, stop, *_ in store.parts)
    job.say(
        f"{arguments.neighbors} neighbours of {len(ids):,} images in a database of {images:,}; "
        f"{int((~valid.all(1)).sum()):,} images have fewer, {valid.sum(1).mean():.2f} on average"
    )
    write_arrays(arguments.output, ids=ids, neighbor_softmax=softmax, neighbor_codes=mean)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--lists", nargs="+", required=True, help="clean images' neighbours in spans of the database")
    options.add_argument("--stops", nargs="+", type=int, required=True, help="rows up to which each belongs to it")
    options.add_argument("--softmax", nargs="+", required=True, help="softmax rows of the shards")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--checks", nargs="+", required=True, help="checks of the softmax rows, in the same order")
    options.add_argument("--codes", nargs="+", required=True, help="codes of the shards")
    options.add_argument("--neighbors", type=int, default=50, help="neighbours taken per image")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
