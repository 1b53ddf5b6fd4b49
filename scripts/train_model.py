"""Train a classifier from scratch and save it with its provenance."""

import argparse
import json

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.errors import InputError
from nndefense.files import read_json, read_table
from nndefense.images.description import open_described, read_blocks
from nndefense.progress import Progress
from nndefense.seeds import derive_seed
from nndefense.skipped import check_skipped, usable


def read_training_images(arguments: argparse.Namespace, job: Job) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (n, H, W, 3) and labels (n,) of the readable rows."""
    description = read_json(arguments.images)
    labels = read_table(arguments.manifest, "label")["label"]
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= arguments.classes:
        raise InputError(
            f"models.{arguments.name}.train.images: {description['name']} has labels {labels.min()} to {labels.max()}; "
            f"allowed: 0 to {arguments.classes - 1} (`classes` is {arguments.classes})"
        )
    rows = np.arange(len(labels))
    blocks, skipped = [], {}
    with Progress(f"read {description['name']}", len(rows), "images", job.log) as progress:
        for block, images, bad in read_blocks(open_described(description), rows, 512):
            blocks.append(images)
            skipped |= bad
            progress.advance(block.stop - block.start)
    job.say(check_skipped(skipped, len(rows), arguments.skip_limit))
    good = usable(len(rows), skipped)
    return np.concatenate(blocks)[good], labels[good]


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.build import build_model
    from nndefense.models.checkpoint import save_checkpoint
    from nndefense.models.train import train

    settings = json.loads(arguments.model)
    recipe = settings["train"]
    images, labels = read_training_images(arguments, job)
    seed = derive_seed(arguments.seed, "train", arguments.name)
    model = build_model(
        settings["architecture"], arguments.classes, settings["mean"], settings["std"], seed=seed % (1 << 31)
    )
    steps = recipe["epochs"] * max(1, len(images) // recipe["batch"])
    with Progress(f"train {arguments.name}", steps, "steps", job.log) as progress:
        history = train(
            model,
            images,
            labels,
            epochs=recipe["epochs"],
            batch=recipe["batch"],
            learning_rate=recipe["learning_rate"],
            weight_decay=recipe["weight_decay"],
            flip=recipe["flip"],
            seed=seed % (1 << 31),
            device=device,
            threads=arguments.threads,
            on_step=lambda epoch, step, _, loss: progress.advance(
                step - progress.done, f"epoch {epoch}, loss {loss:.3f}"
            ),
        )
    for entry in history:
        job.say("epoch {epoch}: loss {loss:.4f}, training accuracy {accuracy:.4f}".format(**entry))
    about = {key: settings[key] for key in ("architecture", "mean", "std")}
    about |= {"name": arguments.name, "classes": arguments.classes}
    about["provenance"] = {"trained_on": recipe["images"], "images": len(images), "recipe": recipe, "history": history}
    save_checkpoint(arguments.weights, arguments.description, model, about)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--name", required=True, help="name of the model")
    options.add_argument("--model", required=True, help="its settings, as JSON")
    options.add_argument("--classes", type=int, required=True)
    options.add_argument("--manifest", required=True, help="manifest.parquet of the training set")
    options.add_argument("--images", required=True, help="set.json of the training set")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--weights", required=True, help="safetensors to write")
    options.add_argument("--description", required=True, help="JSON to write")
    run(main, options.parse_args())
