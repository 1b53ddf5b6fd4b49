"""Divide the latents of each class into clusters, and keep the images nearest to the mean of each."""

import argparse

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.seeds import derive_seed
from nndefense.dictionaries.clusters import CRITERIA, central_members, find_clusters
from nndefense.dictionaries.stored_clusters import write_clusters
from nndefense.images.description import open_described


def central_images(arguments: argparse.Namespace, members: list[np.ndarray]) -> dict[str, np.ndarray]:
    """images (K, q, H, W, 3) uint8 and rows (K, q) of the clusters' most central members; row -1: none."""
    image_set = open_described(arguments.images)
    rows = np.full((len(members), arguments.central), -1, dtype=np.int64)
    for place, own in enumerate(members):
        rows[place, : len(own)] = own
    images = image_set.read(np.maximum(rows, 0).ravel()).images
    images[rows.ravel() < 0] = 0
    return {"images": images.reshape(*rows.shape, *images.shape[1:]), "rows": rows}


def main(arguments: argparse.Namespace, job: Job) -> None:
    stored = read_arrays(arguments.latents, "latents", "labels", "rows")
    clusters = find_clusters(
        stored["latents"],
        stored["labels"],
        most=arguments.most,
        smallest=arguments.smallest,
        components=arguments.components,
        criterion=arguments.criterion,
        least_silhouette=arguments.least_silhouette,
        seed=derive_seed(arguments.seed, "clusters"),
    )
    central = central_members(stored["latents"], clusters, arguments.central)
    write_clusters(arguments.output, clusters, stored["labels"], stored["rows"])
    write_arrays(arguments.examples, **central_images(arguments, [stored["rows"][one] for one in central]))
    for place, label in enumerate(np.unique(clusters.classes)):
        sizes = ", ".join(map(str, clusters.sizes[clusters.classes == label]))
        scores = ", ".join(f"{score:.3f}" for score in clusters.scores[place])
        job.say(f"class {label}: clusters of {sizes} images; {arguments.criterion} by their number: {scores}")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--latents", required=True, help=".npz of extract_latents")
    options.add_argument("--images", required=True, help="set.json of their image set")
    options.add_argument("--most", type=int, default=5, help="clusters of a class at most")
    options.add_argument("--smallest", type=int, default=50, help="images of each where a class has several")
    options.add_argument("--components", type=int, default=32, help="dimensions for k-means")
    options.add_argument("--criterion", choices=CRITERIA, default="silhouette")
    options.add_argument("--least-silhouette", type=float, default=0.25, help="from which a class is divided")
    options.add_argument("--central", type=int, default=8, help="images kept of each cluster")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help=".npz of the clusters to write")
    options.add_argument("--examples", required=True, help=".npz of their most central images to write")
    run(main, options.parse_args())
