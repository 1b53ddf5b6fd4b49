"""Merge the neighbour lists of a pool's shards into those of every database size."""

import argparse

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.database.merge import merge_ladder
from nndefense.files import read_arrays, write_arrays


def main(arguments: argparse.Namespace, job: Job) -> None:
    lists = (tuple(read_arrays(path, "ids", "distances").values()) for path in arguments.shards)
    ladder = zip(arguments.stops, merge_ladder(lists, arguments.neighbors), strict=True)
    merged = [lists for stop, lists in ladder if stop in arguments.sizes]
    ids = np.stack([ids for ids, _ in merged])
    distances = np.stack([distances for _, distances in merged])
    for size, nearest in zip(arguments.sizes, distances[:, :, 0], strict=True):
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
