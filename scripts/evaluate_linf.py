"""Measure the accuracy of a network on clean images, on its own adversarial images, and on those of the baseline."""

import argparse

import numpy as np

from nndefense.command import Job, parser, run
from nndefense.errors import InputError
from nndefense.files import read_arrays, write_arrays
from nndefense.progress import Progress
from nndefense.retrieval.accuracy import accuracy_row
from nndefense.retrieval.rows import write_rows

NO_DATABASE = {"pool": "none", "size": 0, "features": "none", "weighting": "none", "combination": "none"}
CLEAN_AXES = {"attack": "none", "setting": "clean", "space": "none", "epsilon": 0.0}


def main(arguments: argparse.Namespace, job: Job) -> None:
    device = job.torch_device()
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint
    from nndefense.models.predict import predict_softmax

    model, about = open_checkpoint(arguments.model)
    model = freeze(model)
    neighbors = about.get("options", {}).get("neighbors", 0)
    clean = read_arrays(arguments.clean, "images", "labels", "rows")
    facts = {"dataset": arguments.dataset, "seed": arguments.seed, "model": arguments.network}
    facts |= {"neighbors": neighbors, "defense": "racnn" if neighbors else "none", **NO_DATABASE}
    predictions, rows, seen = {}, [], {}

    def add(name: str, path: str, axes: dict[str, object]) -> None:
        if path not in seen:
            queries = clean if path == arguments.clean else read_arrays(path)
            if not np.array_equal(queries["rows"], clean["rows"]):
                raise InputError(f"{path}: holds other images, or another order, than {arguments.clean}")
            classes = predict_softmax(model, queries["images"], arguments.batch, device).argmax(1)
            seen[path] = classes.astype(np.int16), queries.get("linf")
        predictions[name], distance = seen[path]
        rows.append(accuracy_row(predictions[name], clean["labels"], distance, **facts, **axes))
        job.say(f"{name}: accuracy {rows[-1]['accuracy']:.4f}, n = {rows[-1]['n']:,}")

    sources = {"white_box": arguments.own, "transfer": arguments.transfer}
    with Progress(f"classify by {arguments.network}", 1 + 2 * len(arguments.names), "sets", job.log) as progress:
        add("clean", arguments.clean, CLEAN_AXES)
        progress.advance(1)
        for setting, paths in sources.items():
            for name, path in zip(arguments.names, paths, strict=True):
                attack, epsilon = name.split("/")
                axes = {"attack": attack, "setting": setting, "space": "linf", "epsilon": float(epsilon)}
                add(f"{setting}/{name}", path, axes)
                progress.advance(1)
    write_arrays(arguments.predictions, labels=clean["labels"], rows=clean["rows"], **predictions)
    write_rows(arguments.accuracy, rows)


if __name__ == "__main__":
    options = parser(__doc__, torch=True)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--network", required=True, help="name of the network, for the result rows")
    options.add_argument("--clean", required=True, help="clean query set, .npz")
    options.add_argument("--names", nargs="+", required=True, help="ATTACK/EPSILON of the attacked sets")
    options.add_argument("--own", nargs="+", required=True, help="sets attacked through this network, in that order")
    options.add_argument("--transfer", nargs="+", required=True, help="sets attacked through the baseline")
    options.add_argument("--batch", type=int, default=250, help="images per forward pass")
    options.add_argument("--dataset", required=True, help="for the result rows")
    options.add_argument("--seed", type=int, default=1, help="for the result rows")
    options.add_argument("--predictions", required=True, help=".npz to write")
    options.add_argument("--accuracy", required=True, help="CSV to write")
    run(main, options.parse_args())
