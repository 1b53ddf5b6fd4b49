"""Embed a task's gallery: of every image the mean embedding of noisy copies, and that of the image itself.

The vectors stay as they are from here on: certificates hold for this gallery, and bear its checksum.
"""

import argparse

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, embedding_options, parser, run
from nndefense.core.progress import Progress, counted
from nndefense.core.seeds import derive_seed


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.embedding import class_prototypes, open_embedding
    from nndefense.models.smoothing import noisy_embeddings, smoothed_means

    task = read_arrays(arguments.task, "gallery/images", "gallery/labels", "gallery/rows")
    images, labels, rows = task.values()
    embedding = open_embedding(arguments.model, arguments.output, arguments.transform, device)
    found = {}
    for name, count, sigma in (("base", 1, 0.0), ("smoothed", arguments.draws, arguments.sigma)):
        with Progress(f"gallery, {name}", len(images) * count, "draws", job.log) as progress:
            draws = noisy_embeddings(
                embedding,
                images,
                rows,
                count=count,
                sigma=sigma,
                seed=derive_seed(arguments.seed, "gallery", arguments.name),
                batch=arguments.batch,
                device=device,
            )
            found[name] = smoothed_means(counted(draws, progress, lambda one: len(one[2])), len(images))
    vectors = found
    if arguments.gallery == "prototypes":
        vectors = {name: class_prototypes(values, labels)[0] for name, values in found.items()}
        labels = class_prototypes(found["base"], labels)[1]
    write_arrays(arguments.vectors, labels=labels, nonnegative=[embedding.nonnegative], **vectors)
    job.say(f"{len(labels):,} vectors of {vectors['base'].shape[1]} dimensions, of {len(images):,} images")


if __name__ == "__main__":
    options = embedding_options(parser(__doc__, torch=True))
    options.add_argument("--gallery", choices=["items", "prototypes"], default="items", help="images or class means")
    options.add_argument("--draws", type=int, required=True, help="noisy copies of each image")
    options.add_argument("--vectors", required=True, help=".npz to write")
    run(main, options.parse_args())
