"""Reduce a shard's features to codes with a fitted PCA."""

import argparse

from nndefense.command import Job, parser, run
from nndefense.features.stored_pca import read_pca
from nndefense.files import read_array, write_array


def main(arguments: argparse.Namespace, job: Job) -> None:
    pca, pca_id = read_pca(arguments.pca)
    features, about = read_array(arguments.features, columns=len(pca.mean))
    codes = pca.transform(features)
    job.say(f"{len(codes):,} codes of {codes.shape[1]} dimensions")
    write_array(arguments.output, codes, about | {"pca": pca_id})


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--features", required=True, help="features of a shard, .npy")
    options.add_argument("--pca", required=True, help=".npz of the fitted PCA")
    options.add_argument("--output", required=True, help=".npy to write")
    run(main, options.parse_args())
