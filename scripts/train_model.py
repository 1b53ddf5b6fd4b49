"""Train a classifier, or an embedding, and save it with its provenance.

A job that was stopped goes on after its last whole epoch.
"""

import argparse
import json
from typing import Any

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import file_sha256, read_json
from nndefense.core.fingerprint import fingerprint
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import TRAINING
from nndefense.images.classes import MEMBER, ClassList
from nndefense.models.architectures import architecture_entry
from nndefense.models.pictures import read_pictures
from nndefense.models.training_run import run_training, save_trained

# Keys of a recipe that are no options of its method.
COMMON = ("images", "epochs", "batch", "learning_rate", "weight_decay", "flip", "threads")


def initial_model(arguments: argparse.Namespace, settings: dict[str, Any], outputs: int, seed: int) -> Any:
    """The network before training: random weights, or those of another model, without a last layer of another width."""
    from nndefense.models.build import build_model
    from nndefense.models.checkpoint import open_checkpoint

    model = build_model(settings["architecture"], outputs, settings["mean"], settings["std"], seed=seed % (1 << 31))
    for path in arguments.initial:
        own, others = model.net.state_dict(), open_checkpoint(path)[0].net.state_dict()
        fitting = {key: value for key, value in others.items() if value.shape == own[key].shape}
        model.net.load_state_dict(own | fitting)
    return model


def make_method(recipe: dict[str, Any]) -> Any:
    """The recipe's method; None for plain training."""
    own = {key: value for key, value in recipe.items() if key not in (*COMMON, "initial", "method", "sources")}
    return None if recipe["method"] == "standard" else make("method", TRAINING, recipe["method"], own)


def needs(recipe: dict[str, Any]) -> tuple[str, ...]:
    """What the recipe's method cannot do without, files of which are arguments of the same name."""
    return TRAINING[recipe["method"]].needs if recipe["method"] in TRAINING else ()


def check_needs(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Raises InputError unless there is one file of everything that the method needs."""
    for need in needs(recipe):
        files = getattr(arguments, need)
        if len(files) != 1:
            key = f"models.{arguments.name}.train.method"
            raise InputError(f"{key}: {recipe['method']} needs one file of {need} (--{need}), got {len(files)}")


def read_needs(arguments: argparse.Namespace, recipe: dict[str, Any], method: Any, pictures: Any) -> dict[str, Any]:
    """What the method needs, of the training images, by the name of the need."""
    return {
        need: getattr(method, f"read_{need}")(getattr(arguments, need)[0], pictures.rows, pictures.labels)
        for need in needs(recipe)
    }


def method_options(
    arguments: argparse.Namespace, method: Any, labels: Any, device: str, **needed: Any
) -> dict[str, Any]:
    """What training minimises, and the images of its batches where the method chooses them.

    needed: of `read_needs`.
    """
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    if method is None:
        return {}
    sources = [freeze(open_checkpoint(path)[0]).to(device) for path in arguments.sources]
    found = {"objective": method.objective(sources, **needed)}
    return found | ({"batches": method.batches(labels)} if hasattr(method, "batches") else {})


def decisive(arguments: argparse.Namespace, settings: dict[str, Any], device: str) -> dict[str, Any]:
    """All that decides the weights, besides the images: settings, processor, models it starts from, code."""
    method = settings["train"]["method"]
    targets = [architecture_entry(settings["architecture"]), *([TRAINING[method].target] if method in TRAINING else [])]
    return {
        "code": fingerprint(__file__, targets),
        "device": device,
        "needs": [file_sha256(path) for need in needs(settings["train"]) for path in getattr(arguments, need)],
        "models": [read_json(path)["weights_sha256"] for path in [*arguments.initial, *arguments.sources]],
        "settings": [arguments.name, arguments.classes, arguments.seed, arguments.threads, settings],
    }


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    settings = json.loads(arguments.model)
    recipe = settings["train"]
    method = make_method(recipe)
    check_needs(arguments, recipe)
    pictures = read_pictures(
        job,
        arguments.images,
        arguments.manifest,
        key=f"models.{arguments.name}.train.images",
        classes=None if hasattr(method, "dimensions") else arguments.classes,
        skip_limit=arguments.skip_limit,
    )
    # The outputs of an embedding are no classes.
    outputs = getattr(method, "dimensions", arguments.classes)
    model = initial_model(arguments, settings, outputs, derive_seed(arguments.seed, "train", arguments.name))
    model.classes = None if hasattr(method, "dimensions") else outputs
    classes = ClassList.of_set(read_json(arguments.images))
    for path in arguments.sources:
        classes.check_same(ClassList.of_network(read_json(path)), f"models.{arguments.name}.train.sources")
    needed = read_needs(arguments, recipe, method, pictures)
    history = run_training(
        arguments,
        job,
        model,
        pictures,
        recipe,
        decisive(arguments, settings, device),
        device,
        **method_options(arguments, method, pictures.labels, device, **needed),
    )
    count = len(pictures.images)
    provenance = {"trained_on": recipe["images"], "images": count, "recipe": recipe, "history": history}
    # An embedding's outputs are no classes, and have no names.
    named = {MEMBER: classes.facts()} if model.classes else {}
    save_trained(arguments, model, settings, history, provenance=provenance, classes=outputs, **named)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--name", required=True, help="name of the model")
    options.add_argument("--model", required=True, help="its settings, as JSON")
    options.add_argument("--classes", type=int, required=True)
    options.add_argument("--manifest", required=True, help="manifest.parquet of the training set")
    options.add_argument("--images", required=True, help="set.json of the training set")
    options.add_argument("--initial", nargs="*", default=[], help="model.json of the model to start from")
    options.add_argument("--sources", nargs="*", default=[], help="model.json of models that attack in training")
    options.add_argument("--clusters", nargs="*", default=[], help=".npz of clusters of the training images")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--weights", required=True, help="safetensors to write")
    options.add_argument("--description", required=True, help="JSON to write")
    options.add_argument("--history", required=True, help="CSV to write")
    run(main, options.parse_args())
