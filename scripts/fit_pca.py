"""Fit a PCA on the first images of a pool."""

import argparse
from collections.abc import Iterator

import numpy as np

from nndefense.core.arrays import read_array, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.progress import Progress, blocks
from nndefense.core.skipped import usable
from nndefense.features.pca import EXACT_DIMENSION_LIMIT, Moments, fit_pca, fit_pca_randomized

BLOCK = 4096


def sample_rows(paths: list[str], skipped: list[str], samples: int) -> Iterator[np.ndarray]:
    """Features of the first `samples` images in pieces, without skipped ones."""
    left = samples
    for path, rows in zip(paths, skipped, strict=True):
        features, about = read_array(path, mapped=True)
        good = usable(len(features), read_array(rows)[0] - about["start"])[:left]
        left -= len(good)
        for block in blocks(len(good), BLOCK):
            yield features[good[block]]


def sample_blocks(paths: list[str], skipped: list[str], samples: int) -> Iterator[np.ndarray]:
    """The same in blocks of BLOCK rows, wherever shards end: sums of other blocks round otherwise."""
    held, rows = [], 0
    for piece in sample_rows(paths, skipped, samples):
        while rows + len(piece) >= BLOCK:
            yield np.concatenate([*held, piece[: BLOCK - rows]])
            piece, held, rows = piece[BLOCK - rows :], [], 0
        held, rows = [*held, piece], rows + len(piece)
    if rows:
        yield np.concatenate(held)


def main(arguments: argparse.Namespace, job: Job) -> None:
    features, about = read_array(arguments.features[0], mapped=True)
    dimension = features.shape[1]
    if dimension <= EXACT_DIMENSION_LIMIT:
        moments = Moments.empty(dimension)
        with Progress("moments", arguments.samples, "images at most", job.log) as progress:
            for block in sample_blocks(arguments.features, arguments.skipped, arguments.samples):
                moments.update(block)
                progress.advance(len(block))
        if moments.count < 2:
            raise InputError(f"{arguments.features[0]}: PCA needs at least 2 readable images")
        pca = fit_pca(moments, arguments.components)
    else:
        job.say(f"{dimension} features exceed {EXACT_DIMENSION_LIMIT}: randomised PCA")
        pca = fit_pca_randomized(
            lambda: sample_blocks(arguments.features, arguments.skipped, arguments.samples),
            arguments.components,
            arguments.seed,
        )
    job.say(
        f"{about['layer']}: {dimension} -> {len(pca.components)} dimensions on {pca.samples:,} images, "
        f"{pca.explained_variance_ratio.sum():.4f} of the variance"
    )
    write_arrays(
        arguments.output,
        mean=pca.mean,
        components=pca.components,
        explained_variance=pca.explained_variance,
        explained_variance_ratio=pca.explained_variance_ratio,
        samples=np.array(pca.samples),
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--features", nargs="+", required=True, help="feature shards, in the pool's order")
    options.add_argument("--skipped", nargs="+", required=True, help="rows without features of the shards, .npy")
    options.add_argument("--components", type=int, default=256, help="dimensions kept")
    options.add_argument("--samples", type=int, default=100000, help="images it is fitted on")
    options.add_argument("--seed", type=int, default=1, help="of the randomised PCA of very long features")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
