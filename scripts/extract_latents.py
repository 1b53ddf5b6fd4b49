"""Extract the latents of all images of a set: what a network's last layer is given."""

import argparse

import numpy as np

from nndefense.core.arrays import write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.progress import Progress
from nndefense.core.skipped import check_skipped, usable
from nndefense.core.tables import read_table
from nndefense.images.classes import ClassList
from nndefense.images.description import open_described, read_blocks

# Images that are decoded at once.
BLOCK = 512


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    import torch

    from nndefense.models.batching import in_batches
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.latents import latents
    from nndefense.models.predict import image_batch

    network = freeze(open_checkpoint(arguments.model)[0]).to(device)
    about = read_json(arguments.images)
    labels = read_table(arguments.manifest, "label")["label"]
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= arguments.classes:
        raise InputError(
            f"dictionaries.images: {about['name']} has labels {labels.min()} to {labels.max()}; "
            f"allowed: 0 to {arguments.classes - 1} (`classes` is {arguments.classes})"
        )
    classes = ClassList.of_set(about)
    classes.check_count(arguments.classes, "dictionaries.images")
    classes.check_same(ClassList.of_network(read_json(arguments.model)), "dictionaries.images")
    found, skipped = [], {}
    with Progress(f"latents of {about['name']}", len(labels), "images", job.log) as progress, torch.no_grad():
        for block, images, bad in read_blocks(open_described(arguments.images), np.arange(len(labels)), BLOCK):
            skipped |= bad

            def compute(part: slice, images: np.ndarray = images) -> np.ndarray:
                shown = image_batch(images, part, device).contiguous(memory_format=torch.channels_last)
                return latents(network, shown).cpu().numpy()

            found += in_batches(compute, len(images), arguments.batch)
            progress.advance(block.stop - block.start)
    job.say(check_skipped(skipped, len(labels), arguments.skip_limit))
    good = usable(len(labels), skipped)
    write_arrays(arguments.output, latents=np.concatenate(found)[good], labels=labels[good], rows=good)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json of the network")
    options.add_argument("--images", required=True, help="set.json of the image set")
    options.add_argument("--manifest", required=True, help="its manifest.parquet")
    options.add_argument("--classes", type=int, required=True, help="number of classes")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
