"""Make a clean query set: images drawn at random, as float pixels in [0, 1], with labels, row ids and pixel sums."""

import argparse

import numpy as np

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.seeds import derive_seed
from nndefense.core.skipped import check_skipped, usable
from nndefense.core.tables import read_table
from nndefense.database.copies import pixel_sums
from nndefense.images.classes import ClassList
from nndefense.images.description import open_described, read_blocks


def main(arguments: argparse.Namespace, job: Job) -> None:
    description = read_json(arguments.description)
    classes, key = ClassList.of_set(description), f"{arguments.key}.images"
    labels = read_table(arguments.manifest, "label")["label"]
    name = description["name"]
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= arguments.classes:
        raise InputError(
            f"{arguments.key}.images {name}: labels are {labels.min()} to {labels.max()}; "
            f"allowed: 0 to {arguments.classes - 1} (`classes` is {arguments.classes})"
        )
    classes.check_count(arguments.classes, key)
    for path in arguments.task:
        classes.check_same(ClassList.of_set(read_json(path)), key)
    taken = [read_arrays(path, "rows")["rows"] for path in arguments.without]
    order = np.random.default_rng(derive_seed(arguments.seed, arguments.key)).permutation(len(labels))
    free = order[~np.isin(order, np.concatenate(taken))] if taken else order
    if not len(free):
        raise InputError(
            f"{arguments.key}.images {name}: all {len(labels)} images are test images; allowed: more images"
        )
    count = min(arguments.count or len(free), len(free))
    rows = np.sort(free[:count])
    blocks, skipped = [], {}
    for _, images, bad in read_blocks(open_described(arguments.description), rows, 256):
        blocks.append(images)
        skipped |= bad
    job.say(check_skipped(skipped, count, arguments.skip_limit))
    good = usable(count, skipped)
    chosen = np.concatenate(blocks)[good]
    missing = arguments.classes - len(np.unique(labels[rows]))
    job.say(f"{len(good):,} {arguments.key} of {name}, {missing} classes without any")
    write_arrays(
        arguments.output,
        class_list=classes.stored(),
        labels=labels[rows[good]],
        rows=rows[good],
        pixels=pixel_sums(chosen),
        **{"clean/images": chosen.transpose(0, 3, 1, 2).astype(np.float32) / 255},
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--manifest", required=True, help="manifest.parquet of the test set")
    options.add_argument("--description", required=True, help="set.json of the test set")
    options.add_argument("--classes", type=int, required=True, help="number of classes")
    options.add_argument("--count", type=int, help="how many images (default: all)")
    options.add_argument("--key", default="queries", help="section of the configuration, enters the seed")
    options.add_argument("--task", nargs="*", default=[], help="set.json of the test images, where these are others")
    options.add_argument("--without", nargs="*", default=[], help="query sets of the same images to leave out, .npz")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
