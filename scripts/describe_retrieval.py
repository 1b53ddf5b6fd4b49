"""Describe a smoothed retrieval, so that `nndefense certify` can ask it about other images."""

import argparse
import os
from pathlib import Path

from nndefense.core.arrays import read_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.files import file_sha256, read_json, write_json


def main(arguments: argparse.Namespace, job: Job) -> None:
    options = read_json(arguments.images)["options"]
    # Of a set that is part of another one, as that is read.
    while "of" in options:
        options = options["of"]
    folder = Path(arguments.output).parent
    files = {"model": [arguments.model], "gallery": [arguments.gallery], "transform": arguments.transform}
    write_json(
        arguments.output,
        {
            "name": arguments.name,
            "alpha": arguments.alpha,
            "batch": arguments.batch,
            "certificates": arguments.certificates,
            "class_names": read_json(arguments.names)["class_names"],
            "crop": options.get("crop", "center"),
            "draws": arguments.draws,
            "files": {name: [os.path.relpath(path, folder) for path in paths] for name, paths in files.items()},
            "first": arguments.first,
            "gallery_sha256": file_sha256(arguments.gallery),
            "output": arguments.embedding_output,
            "resize": options.get("resize"),
            "sigma": arguments.sigma,
            "size": int(read_arrays(arguments.task, "queries/images")["queries/images"].shape[1]),
        },
    )
    job.say(f"{arguments.name}: {arguments.draws:,} draws an image, alpha {arguments.alpha:g}")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--name", required=True, help="TASK/EMBEDDING/sigma-SIGMA")
    options.add_argument("--model", required=True, help="model.json of the network")
    options.add_argument("--embedding-output", required=True, help="features, softmax or output")
    options.add_argument("--transform", nargs="*", default=[], help="what is done to these, .npz")
    options.add_argument("--gallery", required=True, help="vectors of the gallery, .npz")
    options.add_argument("--task", required=True, help="images of gallery and queries, .npz, for their size")
    options.add_argument("--images", required=True, help="set.json of the queries, as which images are read")
    options.add_argument("--names", required=True, help="set.json of the gallery, whose class names are answered")
    options.add_argument("--certificates", nargs="+", required=True, help="their names")
    options.add_argument("--alpha", type=float, required=True, help="chance of too large a radius")
    options.add_argument("--sigma", type=float, required=True, help="standard deviation of the noise")
    options.add_argument("--first", type=int, required=True, help="copies that choose the answer")
    options.add_argument("--draws", type=int, required=True, help="copies that certify it")
    options.add_argument("--batch", type=int, default=250, help="noisy images per forward pass")
    options.add_argument("--output", required=True, help="JSON to write")
    run(main, options.parse_args())
