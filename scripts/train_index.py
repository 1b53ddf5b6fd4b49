"""Train an approximate index on the first codes of a pool; every shard then fills a copy of it."""

import argparse

import numpy as np

from nndefense.core.arrays import write_sealed
from nndefense.core.blocks import read_blocks
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.database.engines.stored import Span
from nndefense.database.engines.trained import train
from nndefense.database.index import index_from_bytes


def main(arguments: argparse.Namespace, job: Job) -> None:
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    span = Span(arguments.codes, arguments.skipped)
    found = []
    for path, (start, stop, unusable) in zip(span.paths, span.shards, strict=True):
        good = np.ones(stop - start, bool)
        good[unusable - start] = False
        left = arguments.samples - sum(map(len, found))
        found += [np.concatenate(list(read_blocks(path, 65536)))[good][:left]]
    sample = np.concatenate(found).astype(np.float32)
    if not len(sample):
        raise InputError(f"{arguments.codes[0]}: every image of the sample was skipped")
    content = train(sample, arguments.factory)
    dimension = index_from_bytes(content, rows=0).d
    job.say(f"{arguments.factory}: trained on {len(sample):,} codes of {dimension} dimensions, {len(content):,} bytes")
    write_sealed(arguments.output, content, {**span.about, "factory": arguments.factory, "dimension": dimension})


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--codes", nargs="+", required=True, help="codes of the first shards, .npy")
    options.add_argument("--skipped", nargs="+", required=True, help="rows without codes of the shards, .npy")
    options.add_argument("--factory", required=True, help="FAISS factory string")
    options.add_argument("--samples", type=int, default=100000, help="codes it is trained on, the first")
    options.add_argument("--output", required=True, help="index to write")
    run(main, options.parse_args())
