"""Build a pool: its images in the seeded order that database shards are cut from."""

import argparse
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.progress import blocks
from nndefense.core.seeds import derive_seed
from nndefense.core.tables import ROWS
from nndefense.images.classes import ClassList, check_tags
from nndefense.images.manifest import StoredManifest
from nndefense.images.pool_file import PoolFile, kept_blocks, write_pool
from nndefense.images.tar_order import expected_distance, share_distance


def count_tags(job: Job, manifests: Mapping[str, StoredManifest], kept: Collection[str] | None) -> Counter[str]:
    """Images of each tag in the pool."""
    tags: Counter[str] = Counter()
    for name, manifest in manifests.items():
        before = tags.total()
        for _, found in kept_blocks(manifest, kept):
            tags.update(found.tolist())
        job.say(f"{name}: {tags.total() - before:,} of {len(manifest):,} images")
    return tags


def compare_prefix(pool: PoolFile, manifests: Mapping[str, StoredManifest], size: int, whole: Counter[str]) -> str:
    """How far the first images of a pool differ from the whole in their tags."""
    tags: Counter[str] = Counter()
    for block in blocks(size, ROWS):
        tags.update(pool.tags_at(np.arange(block.start, block.stop), manifests).tolist())
    return (
        f"first {size:,}: {share_distance(tags, whole):.2%} of the images would need another tag to have the shares of "
        f"the whole; {expected_distance(whole, size):.2%} would on average, were they drawn one by one"
    )


def check_sides(pool: str, test: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> None:
    """Raises InputError where images of a pool are of another size than the test images; all: what set.json holds."""
    for one in sets:
        if one["size"] != test["size"]:
            raise InputError(
                f"pools.{pool}.images: {one['name']} has images of {one['size']} pixels, the test images "
                f"{test['name']} of {test['size']}; allowed: one `size`"
            )


def main(arguments: argparse.Namespace, job: Job) -> None:
    test, abouts = read_json(arguments.task), list(map(read_json, arguments.sets))
    check_sides(arguments.pool, test, abouts)
    classes = ClassList.of_set(test)
    task = set(classes.names) - {""}
    kept = task if arguments.tags == "task" else None
    if kept:
        sets = list(map(ClassList.of_set, abouts))
        check_tags(classes, sets, f"pools.{arguments.pool}")
    pairs = zip(arguments.names, arguments.manifests, strict=True)
    manifests = {name: StoredManifest(path) for name, path in pairs}
    tags = count_tags(job, manifests, kept)
    seed = derive_seed(arguments.seed, "pool", arguments.pool)
    write_pool(arguments.output, manifests, kept, arguments.order, seed)
    share = sum(tags[name] for name in task) / tags.total()
    job.say(f"{Path(arguments.output).stem}: {tags.total():,} images, {share:.1%} with a tag of the task")
    if arguments.order == "tars":
        pool = PoolFile(arguments.output)
        for size in sorted({min(size, len(pool)) for size in arguments.sizes}):
            job.say(compare_prefix(pool, manifests, size, tags))


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--pool", required=True, help="name of the pool")
    options.add_argument("--names", nargs="+", required=True, help="image sets")
    options.add_argument("--manifests", nargs="+", required=True, help="their manifests, in the same order")
    options.add_argument("--sets", nargs="+", required=True, help="their set.json")
    options.add_argument("--task", required=True, help="set.json of the test images, which names the classes")
    options.add_argument(
        "--tags", choices=["any", "task"], default="any", help="keep every image, or those of the task"
    )
    options.add_argument("--order", choices=["table", "function", "tars"], default="table", help="of the images")
    options.add_argument("--sizes", nargs="*", type=int, default=[], help="databases to compare with the whole by tags")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--output", required=True, help="parquet to write")
    run(main, options.parse_args())
