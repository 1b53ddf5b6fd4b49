"""Build a pool: its images in the seeded order that database shards are cut from."""

import argparse
from pathlib import Path

import numpy as np

from nndefense.axes.shards import permute_pool
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import read_json, read_table, write_table
from nndefense.core.seeds import derive_seed


def main(arguments: argparse.Namespace, job: Job) -> None:
    task = set(read_json(arguments.task)["class_names"])
    sets, rows, tags = [], [], []
    for name, path in zip(arguments.names, arguments.manifests, strict=True):
        manifest = read_table(path, "tag")
        chosen = np.arange(len(manifest["tag"]))
        if arguments.tags == "task":
            chosen = chosen[np.isin(manifest["tag"].astype(str), sorted(task))]
        job.say(f"{name}: {len(chosen):,} of {len(manifest['tag']):,} images")
        sets += [name] * len(chosen)
        rows.append(chosen)
        tags += manifest["tag"][chosen].tolist()
    if not sets:
        raise InputError(f"pool {arguments.pool}: no image has a tag that names a class of the task")
    order = permute_pool(np.arange(len(sets)), derive_seed(arguments.seed, "pool", arguments.pool))
    columns = {"set": np.array(sets), "row": np.concatenate(rows), "tag": np.array(tags)}
    write_table(arguments.output, {name: values[order] for name, values in columns.items()})
    share = np.isin(columns["tag"], sorted(task)).mean()
    job.say(f"{Path(arguments.output).stem}: {len(sets):,} images, {share:.1%} with a tag of the task")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--pool", required=True, help="name of the pool")
    options.add_argument("--names", nargs="+", required=True, help="image sets")
    options.add_argument("--manifests", nargs="+", required=True, help="their manifests, in the same order")
    options.add_argument("--task", required=True, help="set.json of the test images, which names the classes")
    options.add_argument(
        "--tags", choices=["any", "task"], default="any", help="keep every image, or those of the task"
    )
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help="parquet to write")
    run(main, options.parse_args())
