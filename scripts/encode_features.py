"""Reduce a shard's features to codes with fitted PCAs; of layers pooled by R-MAC only the signs are kept, as bits."""

import argparse

from nndefense.core.arrays import stream_array
from nndefense.core.blocks import read_blocks
from nndefense.core.command import Job, parser, run
from nndefense.core.seals import read_seal
from nndefense.features.codes import stored_codes
from nndefense.features.stored_pca import read_pca

BLOCK = 1024


def encode(features: str, pca_file: str, output: str, kind: str, job: Job) -> None:
    """Write the codes of a file of features."""
    pca, pca_id = read_pca(pca_file)
    about = read_seal(features)["about"]
    rows, layer = about["stop"] - about["start"], about["layer"]
    blocks = enumerate(read_blocks(features, BLOCK, columns=len(pca.mean)))
    found = (stored_codes(pca, block, layer, about["start"] + place * BLOCK, kind) for place, block in blocks)
    first = next(found)
    with stream_array(output, (rows, first.shape[1]), first.dtype, about | {"pca": pca_id}) as append:
        append(first)
        for codes in found:
            append(codes)
    job.say(f"{layer}: {rows:,} codes of {first.shape[1]} {'dimensions' if first.dtype.kind == 'f' else 'bytes'}")


def main(arguments: argparse.Namespace, job: Job) -> None:
    for features, pca, output in zip(arguments.features, arguments.pca, arguments.codes, strict=True):
        encode(features, pca, output, arguments.type, job)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--features", nargs="+", required=True, help="features of a shard by layer, .npy")
    options.add_argument("--pca", nargs="+", required=True, help="fitted PCAs, in the same order, .npz")
    options.add_argument("--codes", nargs="+", required=True, help="codes to write, in the same order, .npy")
    options.add_argument("--type", choices=["float32", "float16"], default="float32", help="of codes that are no bits")
    run(main, options.parse_args())
