"""Certify the answers of a smoothed retrieval, from stored draws: of every query the answer and its radius."""

import argparse

import numpy as np

from nndefense.certificates import CERTIFICATES
from nndefense.certificates.base import Gallery
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.progress import Progress
from nndefense.evaluation.guarded import Draws


def main(arguments: argparse.Namespace, job: Job) -> None:
    stored = read_arrays(arguments.gallery, "labels", "nonnegative", "smoothed")
    gallery = Gallery(stored["smoothed"], stored["labels"])
    queries = read_arrays(arguments.base, "labels", "rows")
    draws = Draws(arguments.draws)
    certify = CERTIFICATES[arguments.certificate].load()
    found = []
    with Progress(f"certify {arguments.certificate}", len(draws), "queries", job.log) as progress:
        for first, others in draws:
            found.append(
                certify(
                    first,
                    others,
                    gallery,
                    sigma=draws.sigma,
                    alpha=arguments.alpha,
                    nonnegative=bool(stored["nonnegative"][0]),
                )
            )
            progress.advance(1)
    classes = np.array([one.label for one in found])
    radius = np.array([one.radius for one in found])
    write_arrays(arguments.output, classes=classes, radius=radius, sigma=[draws.sigma], **queries)
    answered = classes >= 0
    job.say(
        f"alpha {arguments.alpha:g} for each query: {answered.mean():.3f} of {len(classes):,} queries certified, "
        f"{(answered & (classes == queries['labels'])).mean():.3f} certified and right; the chance that any of the "
        f"radii is too large is at most {min(1.0, arguments.alpha * len(classes)):g}"
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--certificate", required=True, help=", ".join(CERTIFICATES))
    options.add_argument("--gallery", required=True, help="vectors of the gallery, .npz")
    options.add_argument("--base", required=True, help="the queries, .npz")
    options.add_argument("--draws", required=True, help="embeddings of their noisy copies, .npy")
    options.add_argument("--alpha", type=float, required=True, help="for each query, chance of too large a radius")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
