"""Learn a convolutional dictionary from the images of each of some clusters, or one from all images."""

import argparse

import numpy as np

from nndefense.core.arrays import write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.progress import Progress
from nndefense.core.seeds import derive_seed
from nndefense.core.streams import stream
from nndefense.dictionaries.stored_clusters import read_clusters
from nndefense.images.base import ImageSet
from nndefense.images.description import open_described


def members(arguments: argparse.Namespace) -> dict[int, np.ndarray]:
    """Image ids that each dictionary of this job is learnt from, by cluster; those of all images after all clusters."""
    clusters = read_clusters(arguments.clusters)
    count = len(clusters.classes)
    if arguments.part is None:
        return {count: clusters.rows}
    return {one: clusters.rows[clusters.members == one] for one in range(arguments.part, count, arguments.jobs)}


def cut(images: np.ndarray, rows: np.ndarray, side: int | None, seed: int) -> np.ndarray:
    """Squares of images (b, H, W, 3), each at a place that depends on (seed, row) alone."""
    if side is None:
        return images
    height, width = images.shape[1:3]
    if side > min(height, width):
        raise InputError(f"dictionaries.learning.crop: {side} exceeds images of {height} x {width} pixels")
    found = np.empty((len(images), side, side, 3), dtype=images.dtype)
    for out, image, row in zip(found, images, rows.tolist(), strict=True):
        top, left = stream(seed, row).integers([height - side + 1, width - side + 1])
        out[:] = image[top : top + side, left : left + side]
    return found


def learnt(
    arguments: argparse.Namespace, job: Job, image_set: ImageSet, rows: np.ndarray, name: str, device: str
) -> tuple[np.ndarray, list[float]]:
    """Filters (M, 3, s, s), and the mean objective of every batch."""
    import torch

    from nndefense.dictionaries.learning import begin, learn

    def read(places: np.ndarray) -> torch.Tensor:
        batch = image_set.read(rows[places])
        if batch.skipped:
            raise InputError(f"{arguments.images}: image {rows[places][next(iter(batch.skipped))]} became unreadable")
        return torch.from_numpy(cut(batch.images, rows[places], arguments.crop, seed)).permute(0, 3, 1, 2).float() / 255

    seed, objectives = derive_seed(arguments.seed, "dictionary", name), []
    with Progress(f"learn {name}", arguments.steps, "batches", job.log) as progress:

        def watch(step: int, objective: float) -> None:
            objectives.append(objective)
            progress.advance(1, f"objective {objective:.3f}")

        state = learn(
            begin(filters=arguments.filters, size=arguments.size, seed=seed),
            read,
            len(rows),
            steps=arguments.steps,
            sparsity=arguments.sparsity,
            low_pass=arguments.low_pass,
            batch=arguments.batch,
            seed=seed,
            method="admm",
            device=device,
            watch=watch,
        )
    job.say(f"{name}: {len(rows):,} images, objective {objectives[0]:.4f} to {objectives[-1]:.4f}")
    return state.filters, objectives


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    image_set, found, wanted = open_described(arguments.images), [], members(arguments)
    for place, rows in wanted.items():
        name = "whole" if arguments.part is None else f"cluster {place}"
        found.append(learnt(arguments, job, image_set, rows, name, device))
    shape = (0, arguments.filters, 3, arguments.size, arguments.size)
    # There may be more jobs than clusters.
    filters = np.stack([one for one, _ in found]) if found else np.zeros(shape, dtype=np.float32)
    objectives = np.array([one for _, one in found], dtype=np.float64).reshape(len(found), arguments.steps)
    places = np.array(list(wanted), dtype=np.int64)
    write_arrays(arguments.output, filters=filters, objectives=objectives, places=places)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clusters", required=True, help=".npz of find_clusters")
    options.add_argument("--images", required=True, help="set.json of their image set")
    options.add_argument("--part", type=int, help="the first of its clusters (default: one dictionary of all images)")
    options.add_argument("--jobs", type=int, default=1, help="steps to the next of its clusters")
    options.add_argument("--filters", type=int, default=64)
    options.add_argument("--size", type=int, default=8, help="side of a filter in pixels")
    options.add_argument("--steps", type=int, default=100, help="batches")
    options.add_argument("--batch", type=int, default=16, help="images of a batch")
    options.add_argument("--crop", type=int, help="side of the square cut from each image (default: whole images)")
    options.add_argument("--sparsity", type=float, default=0.1, help="weight of the codes' absolute values")
    options.add_argument("--low-pass", type=float, default=5.0, help="weight of the gradient in the low band")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
