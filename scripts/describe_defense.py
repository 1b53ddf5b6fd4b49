"""Describe the nearest-neighbour defence as deployed: its files, relative to the description, and its options.

`nndefense.load` and `nndefense predict` open it. The files are checked against each other when they are opened.
"""

import argparse
import json
from pathlib import Path

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import read_json, write_json
from nndefense.core.seals import read_seal
from nndefense.defenses.deployed import Deployed, to_json


def count_images(arguments: argparse.Namespace) -> int:
    """Images of the database. InputError where the files of its shards are not in one order."""
    names = ("codes", "skipped", "softmax", "weights", "checks", "pixels")
    shards = [
        [(about["start"], about["stop"]) for about in (read_seal(path)["about"] for path in getattr(arguments, name))]
        for name in names
    ]
    if any(one != shards[0] for one in shards):
        raise InputError(f"{', '.join(f'--{name}' for name in names)}: need the same shards in the same order")
    return sum(stop - start for start, stop in shards[0])


def main(arguments: argparse.Namespace, job: Job) -> None:
    task = read_json(arguments.task)
    names = ("weighting", "combination", "searched", "probes", "temperature", "candidates")
    options = {name: getattr(arguments, name) for name in names}
    deployed = Deployed(
        dataset=arguments.dataset,
        class_names=task["class_names"],
        size=task["size"],
        resize=task["resize"],
        crop=task["crop"],
        model=arguments.model,
        encoder=arguments.encoder[:1],
        layer=arguments.layer,
        pooled=json.loads(arguments.pooled),
        pca=arguments.pca,
        pool_name=arguments.pool_name,
        images=count_images(arguments),
        index=arguments.index,
        codes=arguments.codes,
        skipped=arguments.skipped,
        softmax=arguments.softmax,
        weights=arguments.weights,
        checks=arguments.checks,
        pixels=arguments.pixels,
        pool=arguments.pool,
        sets=arguments.sets,
        options={"k": arguments.neighbors, **{name: value for name, value in options.items() if value is not None}},
    )
    write_json(arguments.output, to_json(deployed, Path(arguments.output).parent))
    job.say(
        f"{arguments.neighbors} neighbours by {arguments.layer} of {deployed.images:,} images of "
        f"{arguments.pool_name}, {len(deployed.class_names)} classes"
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--model", required=True, help="model.json")
    options.add_argument("--encoder", nargs="*", default=[], help="model.json of the layer's network, if another one")
    options.add_argument("--pca", required=True, help=".npz of the pool's PCA")
    options.add_argument("--codes", nargs="+", required=True, help="codes of the database's shards")
    options.add_argument("--skipped", nargs="+", required=True, help="their rows without codes, in the same order")
    options.add_argument("--index", nargs="*", default=[], help="their indexes, in the same order (default: exact)")
    options.add_argument("--softmax", nargs="+", required=True, help="their softmax rows, in the same order")
    options.add_argument("--weights", nargs="+", required=True, help="their confidence weights, in the same order")
    options.add_argument("--checks", nargs="+", required=True, help="checks of the rows, in the same order")
    options.add_argument("--pixels", nargs="+", required=True, help="sums of the images' pixels, in the same order")
    options.add_argument("--pool", required=True, help="parquet of the pool")
    options.add_argument("--sets", nargs="+", required=True, help="set.json of every image set of the pool")
    options.add_argument("--task", required=True, help="set.json of the test images")
    options.add_argument("--layer", required=True, help="layer whose features are compared")
    options.add_argument("--pooled", default="{}", help="side of the pooled map by layer, as JSON")
    options.add_argument("--pool-name", required=True, help="name of the pool")
    options.add_argument("--neighbors", type=int, default=50, help="neighbours K that vote")
    options.add_argument("--searched", type=int, help="neighbours that a search lists (default: K)")
    options.add_argument("--probes", type=int, help="lists an inverted-file index visits")
    options.add_argument("--weighting", default="CBW-D", help="weights of the neighbours")
    options.add_argument("--combination", default="soft", help="soft or hard votes")
    options.add_argument("--temperature", type=float, help="of the votes that an attacker differentiates")
    options.add_argument("--candidates", type=int, help="neighbours that he differentiates, in multiples of K")
    options.add_argument("--dataset", required=True, help="name of the experiment's data set")
    options.add_argument("--output", required=True, help="JSON to write")
    run(main, options.parse_args())
