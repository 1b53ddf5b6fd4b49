"""Find the cluster of each clean test image among those of its true class: what nobody who purifies can know."""

import argparse

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_json
from nndefense.dictionaries.clusters import true_clusters
from nndefense.dictionaries.stored_clusters import read_clusters
from nndefense.images.classes import check_network, check_set


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    import numpy as np
    import torch

    from nndefense.models.batching import in_batches
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.latents import latents
    from nndefense.models.predict import image_batch

    network = freeze(open_checkpoint(arguments.model)[0]).to(device)
    check_network(read_json(arguments.model), arguments.clean)
    for path in arguments.images:
        check_set(read_json(path), arguments.clean, "dictionaries.images")
    clean, clusters = read_arrays(arguments.clean, "clean/images", "labels", "rows"), read_clusters(arguments.clusters)
    images = clean["clean/images"]

    @torch.no_grad()
    def compute(part: slice) -> np.ndarray:
        return latents(network, image_batch(images, part, device)).cpu().numpy()

    found = np.concatenate(list(in_batches(compute, len(images), arguments.batch)))
    chosen = true_clusters(found, clean["labels"], clusters.means, clusters.classes)
    write_arrays(arguments.output, rows=clean["rows"], clusters=chosen)
    job.say(f"{len(chosen):,} images of {len(np.unique(chosen))} clusters")


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--images", nargs="*", default=[], help="set.json of the images that were divided")
    options.add_argument("--clusters", required=True, help=".npz of find_clusters")
    options.add_argument("--model", required=True, help="model.json of the network whose latents were divided")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
