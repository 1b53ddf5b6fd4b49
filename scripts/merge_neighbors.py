"""Merge the neighbour lists of a pool's shards into those of every database size: (query sets, sizes, queries, k)."""

import argparse

import numpy as np

from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_arrays, write_arrays
from nndefense.database.merge import merge_ladder


def main(arguments: argparse.Namespace, job: Job) -> None:
    shards = [read_arrays(path, "ids", "distances") for path in arguments.shards]
    sets, queries, kept = shards[0]["ids"].shape
    lists = (tuple(values.reshape(-1, kept) for values in shard.values()) for shard in shards)
    ladder = zip(arguments.stops, merge_ladder(lists, arguments.neighbors), strict=True)
    merged = [lists for stop, lists in ladder if stop in arguments.sizes]
    ids, distances = (np.stack([lists[part].reshape(sets, queries, -1) for lists in merged], axis=1) for part in (0, 1))
    for size, nearest in zip(arguments.sizes, distances[0, :, :, 0], strict=True):
        copies = int((nearest <= 1e-6).sum())
        job.say(f"N = {size:,}: {copies} of {len(nearest):,} queries have a database image at distance 0")
    write_arrays(arguments.output, sizes=np.array(arguments.sizes), ids=ids, distances=distances)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--shards", nargs="+", required=True, help="neighbour lists, in the order of the shards")
    options.add_argument("--sizes", nargs="+", type=int, required=True, help="database sizes wanted")
    options.add_argument("--stops", nargs="+", type=int, required=True, help="images up to the end of each shard")
    options.add_argument("--neighbors", type=int, default=100, help="neighbours kept per query")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
