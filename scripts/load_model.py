"""Load a network's weights from a file, or those that a library publishes, and save them with their provenance."""

import argparse
import json
from pathlib import Path

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import ConfigError, FileFault
from nndefense.core.files import file_sha256


def main(arguments: argparse.Namespace, job: Job) -> None:
    from nndefense.models.architectures import library_of
    from nndefense.models.build import build_model
    from nndefense.models.checkpoint import save_checkpoint
    from nndefense.models.weights import apply_weights, is_tower, read_weights

    settings = json.loads(arguments.model)
    published, path = settings.get("pretrained"), settings.get("weights")
    classes = arguments.classes if settings.get("classes") is None else settings["classes"]
    found = read_weights(path) if path else None
    options = dict(settings.get("zero_shot") or {}) | ({"quick_gelu": True} if settings.get("quick_gelu") else {})
    # An image tower is a part of what open_clip's files hold.
    whole = found is not None and library_of(settings["architecture"]) == "open_clip" and not is_tower(found.state)
    if whole:
        options["state"] = found.state
    try:
        model = build_model(
            settings["architecture"],
            classes,
            settings["mean"],
            settings["std"],
            weights=published,
            options=options,
            resize=settings.get("resize"),
        )
    except (ConfigError, FileFault) as error:
        raise type(error)(f"models.{arguments.name}: {error}") from error
    if published:
        provenance = {"published_by": library_of(settings["architecture"]), "weights": published}
    else:
        if not whole:
            apply_weights(model, found.state, path)
        provenance = {"file": Path(path).name, "sha256": file_sha256(path)}
        if found.entry:
            provenance["entry"] = found.entry
        if chosen := str(found):
            job.say(f"{path}: {chosen}")
    job.say(f"{arguments.name}: {settings['architecture']} from {provenance}")
    about = {key: settings[key] for key in ("architecture", "mean", "std")}
    about |= {"name": arguments.name, "classes": classes, "provenance": provenance}
    told = {"options": getattr(model.net, "options", None), "resize": settings.get("resize")}
    about |= {name: value for name, value in told.items() if value}
    save_checkpoint(arguments.weights, arguments.description, model, about)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--name", required=True, help="name of the model")
    options.add_argument("--model", required=True, help="its settings, as JSON")
    options.add_argument("--classes", type=int, required=True)
    options.add_argument("--weights", required=True, help="safetensors to write")
    options.add_argument("--description", required=True, help="JSON to write")
    run(main, options.parse_args())
