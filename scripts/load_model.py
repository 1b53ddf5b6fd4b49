"""Load a classifier's weights from a file, or those that torchvision publishes, and save them with their provenance."""

import argparse
import json
from pathlib import Path

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import FileFault
from nndefense.core.files import file_sha256


def main(arguments: argparse.Namespace, job: Job) -> None:
    from nndefense.models.build import build_model
    from nndefense.models.checkpoint import save_checkpoint
    from nndefense.models.weights import apply_weights, read_weights

    settings = json.loads(arguments.model)
    published = settings.get("pretrained")
    try:
        model = build_model(
            settings["architecture"], arguments.classes, settings["mean"], settings["std"], weights=published
        )
    except FileFault as error:
        raise FileFault(f"models.{arguments.name}: {error}") from error
    if published:
        provenance = {"published_by": "torchvision", "weights": published}
    else:
        path = settings["weights"]
        found = read_weights(path)
        apply_weights(model, found.state, path)
        provenance = {"file": Path(path).name, "sha256": file_sha256(path)}
        if found.entry:
            provenance["entry"] = found.entry
        if chosen := str(found):
            job.say(f"{path}: {chosen}")
    job.say(f"{arguments.name}: {settings['architecture']} from {provenance}")
    about = {key: settings[key] for key in ("architecture", "mean", "std")}
    about |= {"name": arguments.name, "classes": arguments.classes, "provenance": provenance}
    save_checkpoint(arguments.weights, arguments.description, model, about)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--name", required=True, help="name of the model")
    options.add_argument("--model", required=True, help="its settings, as JSON")
    options.add_argument("--classes", type=int, required=True)
    options.add_argument("--weights", required=True, help="safetensors to write")
    options.add_argument("--description", required=True, help="JSON to write")
    run(main, options.parse_args())
