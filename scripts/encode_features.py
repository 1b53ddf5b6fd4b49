"""Reduce a shard's features to codes with a fitted PCA; of layers pooled by R-MAC only the signs are kept, as bits."""

import argparse

from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_array, write_array
from nndefense.features.bits import pack_signs
from nndefense.features.names import is_rmac
from nndefense.features.stored_pca import read_pca


def main(arguments: argparse.Namespace, job: Job) -> None:
    pca, pca_id = read_pca(arguments.pca)
    features, about = read_array(arguments.features, columns=len(pca.mean))
    codes = pca.transform(features)
    bits = is_rmac(about["layer"])
    job.say(f"{len(codes):,} codes of {codes.shape[1]} {'bits' if bits else 'dimensions'}")
    write_array(arguments.output, pack_signs(codes) if bits else codes, about | {"pca": pca_id})


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--features", required=True, help="features of a shard, .npy")
    options.add_argument("--pca", required=True, help=".npz of the fitted PCA")
    options.add_argument("--output", required=True, help=".npy to write")
    run(main, options.parse_args())
