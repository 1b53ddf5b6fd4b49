"""Train a retrieval-augmented network on the features of a trained one, and save it with its memory.

A job that was stopped goes on after its last whole epoch.
"""

import argparse
import hashlib
import json
from typing import Any

import numpy as np

from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_json
from nndefense.core.fingerprint import fingerprint
from nndefense.core.progress import Progress
from nndefense.core.seeds import derive_seed
from nndefense.images.classes import MEMBER, ClassList
from nndefense.models.architectures import architecture_entry
from nndefense.models.pictures import Pictures, read_pictures
from nndefense.models.training_run import run_training, save_trained

# Of the training images, for the recall of the hashed search.
RECALL_SAMPLE = 1000


def make_model(arguments: argparse.Namespace, settings: dict[str, Any], extractor: Any, rows: int) -> Any:
    """The network before training, with the features of the extractor and an empty memory of `rows` images."""
    from nndefense.models.build import build_model
    from nndefense.models.racnn_training import RetrievalTraining, start_from

    seed = derive_seed(arguments.seed, "train", arguments.name) % (1 << 31)
    options = RetrievalTraining.of(settings["train"]).network(extractor.architecture, rows, seed)
    model = build_model(
        settings["architecture"], arguments.classes, settings["mean"], settings["std"], seed=seed, options=options
    )
    start_from(model, extractor)
    return model


def features_of(model: Any, pictures: Pictures, what: str, batch: int, job: Job) -> Any:
    """Features of the images as the network has them now, (n, D) on the CPU."""
    from nndefense.models.racnn_training import features_of

    with Progress(f"features of the {what}", len(pictures.images), "images", job.log) as progress:
        return features_of(model, model.net.phi, pictures.images, batch, progress.advance)


def prepare(
    arguments: argparse.Namespace, recipe: dict[str, Any], model: Any, memory: Pictures, pictures: Pictures, job: Job
) -> tuple[Any, dict[str, float]]:
    """Fill the memory. What training minimises, and how well a hashed search finds neighbours (empty for an exact one).

    Before training, the features that are trained and those of the search are the same.
    """
    import torch

    from nndefense.models import racnn_training

    net, same_set = model.net, recipe["images"] == recipe["database"]["images"]
    features = features_of(model, pictures, "training images", arguments.batch, job)
    own = racnn_training.own_places(memory.rows, pictures.rows, same_set)
    if len(inside := np.flatnonzero(own >= 0)) == len(memory.rows):
        stored = features.new_empty(len(inside), features.shape[1])
        stored[own[inside]] = features[inside]
    else:
        stored = features_of(model, memory, "database", arguments.batch, job)
    net.memory.fill(racnn_training.keys_of(net, stored), stored, torch.from_numpy(memory.labels.astype(np.int64)))
    keys = racnn_training.keys_of(net, features)
    neighbors = racnn_training.training_neighbors(net, keys, own, recipe["neighbors"])
    job.say(f"{(own >= 0).sum():,} of {len(own):,} training images are in memory and left out of their own neighbours")
    quality = {}
    if net.memory.engine == "lsh":
        quality = racnn_training.lsh_quality(net.memory, keys[:RECALL_SAMPLE], recipe["neighbors"])
        job.say(
            f"hashed search: recall@{recipe['neighbors']} {quality['recall']:.4f}, {quality['candidates']:,.1f} "
            f"candidates of {len(memory.rows):,} per query, all rows searched for {quality['exhaustive']:.2%} of them"
        )
    if not recipe["finetune"]:
        return racnn_training.FrozenFeatures(features, neighbors), quality
    return racnn_training.FineTuning(memory.images, neighbors, recipe["ordinary"], recipe["mixup"]), quality


def decisive(arguments: argparse.Namespace, settings: dict[str, Any], memory: Pictures, device: str) -> dict[str, Any]:
    """All that decides the weights, besides the training images: settings, processor, extractor, database, code."""
    extractor = read_json(arguments.extractor)
    targets = [architecture_entry(name) for name in (settings["architecture"], extractor["architecture"])]
    return {
        "code": fingerprint(__file__, targets),
        "database": [hashlib.sha256(np.ascontiguousarray(part)).hexdigest() for part in memory],
        "device": device,
        "extractor": extractor["weights_sha256"],
        "settings": [arguments.name, arguments.classes, arguments.seed, arguments.threads, settings],
    }


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.checkpoint import open_checkpoint

    settings = json.loads(arguments.model)
    recipe = settings["train"]
    extractor, origin = open_checkpoint(arguments.extractor)
    common = {"classes": arguments.classes, "skip_limit": arguments.skip_limit}
    key = f"models.{arguments.name}.train"
    pictures = read_pictures(job, arguments.images, arguments.manifest, key=f"{key}.images", **common)
    memory = read_pictures(
        job,
        arguments.database,
        arguments.database_manifest,
        key=f"{key}.database",
        count=recipe["database"]["rows"],
        seed=derive_seed(arguments.seed, "database", arguments.name),
        **common,
    )
    classes, others = (ClassList.of_set(read_json(path)) for path in (arguments.images, arguments.database))
    classes.check_same(others, f"{key}.database")
    model = make_model(arguments, settings, extractor, len(memory.images)).to(device)
    objective, quality = prepare(arguments, recipe, model, memory, pictures, job)
    history = run_training(
        arguments,
        job,
        model,
        pictures,
        recipe,
        decisive(arguments, settings, memory, device),
        device,
        augment=recipe["finetune"],
        objective=objective,
        parameters=model.net.trainable(),
    )
    if recipe["finetune"]:
        refreshed = features_of(model, memory, "database after training", arguments.batch, job)
        model.net.memory.features.copy_(refreshed)
    provenance = {
        "trained_on": recipe["images"],
        "images": len(pictures.images),
        "recipe": recipe,
        "history": history,
        "extractor": {"name": origin["name"], "weights_sha256": origin["weights_sha256"]},
        "hashed_search": quality or None,
    }
    about = {"options": model.net.description(), "provenance": provenance, MEMBER: classes.facts()}
    save_trained(arguments, model, settings, history, **about)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--name", required=True, help="name of the model")
    options.add_argument("--model", required=True, help="its settings, as JSON")
    options.add_argument("--classes", type=int, required=True)
    options.add_argument("--extractor", required=True, help="model.json of the network whose features are used")
    options.add_argument("--manifest", required=True, help="manifest.parquet of the training set")
    options.add_argument("--images", required=True, help="set.json of the training set")
    options.add_argument("--database-manifest", required=True, help="manifest.parquet of the set that memory is from")
    options.add_argument("--database", required=True, help="set.json of the set that memory is from")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass where nothing is trained")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--weights", required=True, help="safetensors to write")
    options.add_argument("--description", required=True, help="JSON to write")
    options.add_argument("--history", required=True, help="CSV to write")
    run(main, options.parse_args())
