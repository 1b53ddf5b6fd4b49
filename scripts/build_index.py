"""Build the search index of a shard from its codes: sign bits, of layers pooled by R-MAC, are compared by Hamming
distance in an exact index, whatever the factory string.
"""

import argparse

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import FileFault
from nndefense.core.files import read_array, write_sealed
from nndefense.core.skipped import usable
from nndefense.database.index import BINARY_FACTORY, build_index, index_to_bytes


def main(arguments: argparse.Namespace, job: Job) -> None:
    codes, about = read_array(arguments.codes)
    good = usable(len(codes), about["skipped"])
    if not len(good):
        raise FileFault(f"{arguments.codes}: every image of the shard was skipped")
    factory = BINARY_FACTORY if codes.dtype == "uint8" else arguments.factory
    index = build_index(codes[good], factory)
    content = index_to_bytes(index)
    job.say(f"{factory}: {index.ntotal:,} codes of {index.d} dimensions, {len(content):,} bytes")
    write_sealed(arguments.output, content, about | {"factory": factory, "dimension": index.d, "rows": index.ntotal})


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--codes", required=True, help=".npy of a shard")
    options.add_argument("--factory", default="Flat", help="FAISS factory string")
    options.add_argument("--output", required=True, help="index to write")
    run(main, options.parse_args())
