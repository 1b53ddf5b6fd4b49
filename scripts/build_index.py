"""Build the search index of a shard from its codes: sign bits, of layers pooled by R-MAC, are compared by Hamming
distance in an exact index, whatever the factory string.
"""

import argparse

from nndefense.command import Job, parser, run
from nndefense.database.binary_index import BINARY_FACTORY, binary_index_to_bytes, build_binary_index
from nndefense.database.index import build_index, index_to_bytes
from nndefense.errors import FileFault
from nndefense.features.names import is_rmac
from nndefense.files import read_array, write_sealed
from nndefense.skipped import usable


def main(arguments: argparse.Namespace, job: Job) -> None:
    codes, about = read_array(arguments.codes)
    good = usable(len(codes), about["skipped"])
    if not len(good):
        raise FileFault(f"{arguments.codes}: every image of the shard was skipped")
    if is_rmac(about["layer"]):
        factory, index = BINARY_FACTORY, build_binary_index(codes[good])
        content = binary_index_to_bytes(index)
    else:
        factory, index = arguments.factory, build_index(codes[good], arguments.factory)
        content = index_to_bytes(index)
    job.say(f"{factory}: {index.ntotal:,} codes of {index.d} dimensions, {len(content):,} bytes")
    about |= {"factory": factory, "dimension": index.d, "rows": index.ntotal}
    write_sealed(arguments.output, content, about)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--codes", required=True, help=".npy of a shard")
    options.add_argument("--factory", default="Flat", help="FAISS factory string")
    options.add_argument("--output", required=True, help="index to write")
    run(main, options.parse_args())
