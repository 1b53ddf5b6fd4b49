"""Train a classifier and save it with its provenance. A job that was stopped goes on after its last whole epoch."""

import argparse
import json
from typing import Any

from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_json
from nndefense.core.fingerprint import fingerprint
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import TRAINING
from nndefense.models.architectures import architecture_entry
from nndefense.models.pictures import read_pictures
from nndefense.models.training_run import run_training, save_trained

# Keys of a recipe that are no options of its method.
COMMON = ("images", "epochs", "batch", "learning_rate", "weight_decay", "flip", "threads")


def initial_model(arguments: argparse.Namespace, settings: dict[str, Any], seed: int) -> Any:
    """The network before training: random weights, or those of another model."""
    from nndefense.models.build import build_model
    from nndefense.models.checkpoint import open_checkpoint

    model = build_model(
        settings["architecture"], arguments.classes, settings["mean"], settings["std"], seed=seed % (1 << 31)
    )
    for path in arguments.initial:
        model.net.load_state_dict(open_checkpoint(path)[0].net.state_dict())
    return model


def make_objective(arguments: argparse.Namespace, recipe: dict[str, Any], device: str) -> Any:
    """What training minimises, by the recipe's method."""
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.objective import CrossEntropy

    if recipe["method"] == "standard":
        return CrossEntropy()
    own = {key: value for key, value in recipe.items() if key not in (*COMMON, "initial", "method", "sources")}
    sources = [freeze(open_checkpoint(path)[0]).to(device) for path in arguments.sources]
    return make("method", TRAINING, recipe["method"], own).objective(sources)


def decisive(arguments: argparse.Namespace, settings: dict[str, Any], device: str) -> dict[str, Any]:
    """All that decides the weights, besides the images: settings, processor, models it starts from, code."""
    method = settings["train"]["method"]
    targets = [architecture_entry(settings["architecture"]), *([TRAINING[method].target] if method in TRAINING else [])]
    return {
        "code": fingerprint(__file__, targets),
        "device": device,
        "models": [read_json(path)["weights_sha256"] for path in [*arguments.initial, *arguments.sources]],
        "settings": [arguments.name, arguments.classes, arguments.seed, arguments.threads, settings],
    }


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    settings = json.loads(arguments.model)
    recipe = settings["train"]
    pictures = read_pictures(
        job,
        arguments.images,
        arguments.manifest,
        key=f"models.{arguments.name}.train.images",
        classes=arguments.classes,
        skip_limit=arguments.skip_limit,
    )
    seed = derive_seed(arguments.seed, "train", arguments.name)
    model = initial_model(arguments, settings, seed)
    history = run_training(
        arguments,
        job,
        model,
        pictures,
        recipe,
        decisive(arguments, settings, device),
        device,
        objective=make_objective(arguments, recipe, device),
    )
    count = len(pictures.images)
    provenance = {"trained_on": recipe["images"], "images": count, "recipe": recipe, "history": history}
    save_trained(arguments, model, settings, history, provenance=provenance)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--name", required=True, help="name of the model")
    options.add_argument("--model", required=True, help="its settings, as JSON")
    options.add_argument("--classes", type=int, required=True)
    options.add_argument("--manifest", required=True, help="manifest.parquet of the training set")
    options.add_argument("--images", required=True, help="set.json of the training set")
    options.add_argument("--initial", nargs="*", default=[], help="model.json of the model to start from")
    options.add_argument("--sources", nargs="*", default=[], help="model.json of models that attack in training")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--weights", required=True, help="safetensors to write")
    options.add_argument("--description", required=True, help="JSON to write")
    options.add_argument("--history", required=True, help="CSV to write")
    run(main, options.parse_args())
