"""Train a classifier and save it with its provenance. A job that was stopped goes on after its last whole epoch."""

import argparse
import json
from pathlib import Path
from typing import Any

from nndefense.command import Job, parser, run
from nndefense.defenses import TRAINING
from nndefense.files import file_sha256, read_json
from nndefense.models.architectures import architecture_entry
from nndefense.models.history import write_history
from nndefense.pictures import read_pictures
from nndefense.progress import Progress
from nndefense.registry import make
from nndefense.seeds import derive_seed
from nndefense.sources import module_file, used_modules

# Keys of a recipe that are no options of its method.
COMMON = ("images", "epochs", "batch", "learning_rate", "weight_decay", "flip", "threads")
STATE = "training.state"


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
    entries = [architecture_entry(settings["architecture"]), TRAINING.get(settings["train"]["method"], "")]
    registered = [file for entry in entries if (file := module_file(entry.partition(":")[0]))]
    code = {file for start in [Path(__file__).resolve(), *registered] for file in (start, *used_modules(start))}
    models = [read_json(path)["weights_sha256"] for path in [*arguments.initial, *arguments.sources]]
    return {
        "code": [file_sha256(file) for file in sorted(code)],
        "device": device,
        "models": models,
        "settings": [arguments.name, arguments.classes, arguments.seed, arguments.threads, settings],
    }


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.checkpoint import save_checkpoint
    from nndefense.models.train import train
    from nndefense.models.training_files import read_state, write_state
    from nndefense.models.training_state import fingerprint

    settings = json.loads(arguments.model)
    recipe = settings["train"]
    images, labels, _ = read_pictures(
        job,
        arguments.images,
        arguments.manifest,
        key=f"models.{arguments.name}.train.images",
        classes=arguments.classes,
        skip_limit=arguments.skip_limit,
    )
    seed = derive_seed(arguments.seed, "train", arguments.name)
    model = initial_model(arguments, settings, seed)
    facts = fingerprint(decisive(arguments, settings, device), images, labels)
    stored = Path(arguments.weights).with_name(STATE)
    state, sentence = read_state(stored, facts)
    job.say(sentence)
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
            objective=make_objective(arguments, recipe, device),
            resume=state,
            on_epoch=lambda reached: write_state(stored, reached, facts),
            on_step=lambda epoch, step, _, loss: progress.advance(
                step - progress.done, f"epoch {epoch}, loss {loss:.3f}"
            ),
        )
    for entry in history:
        job.say("epoch {epoch}: loss {loss:.4f}, training accuracy {accuracy:.4f}".format(**entry))
    about = {key: settings[key] for key in ("architecture", "mean", "std")}
    about |= {"name": arguments.name, "classes": arguments.classes}
    about["provenance"] = {"trained_on": recipe["images"], "images": len(images), "recipe": recipe, "history": history}
    write_history(arguments.history, history)
    save_checkpoint(arguments.weights, arguments.description, model, about)
    stored.unlink(missing_ok=True)


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
