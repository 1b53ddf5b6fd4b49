"""Sample patches of random images of a set, which image quilting puts images together from."""

import argparse

import numpy as np

from nndefense.core.arrays import write_array
from nndefense.core.command import Job, parser, run
from nndefense.core.files import read_json
from nndefense.core.seeds import derive_seed
from nndefense.core.skipped import check_skipped, usable
from nndefense.images.description import open_described


def main(arguments: argparse.Namespace, job: Job) -> None:
    from nndefense.defenses.patches import sample_patches

    description = read_json(arguments.description)
    seed = derive_seed(arguments.seed, "patches", description["name"])
    count = min(arguments.count, description["rows"])
    rows = np.sort(np.random.default_rng(seed).permutation(description["rows"])[:count])
    batch = open_described(arguments.description).read(rows)
    job.say(check_skipped(batch.skipped, count, arguments.skip_limit))
    good = usable(count, batch.skipped)
    patches = sample_patches(batch.images[good], arguments.per_image, seed, rows=rows[good])
    job.say(f"{len(patches):,} patches of {len(good):,} images of {description['name']}")
    write_array(arguments.output, patches, {"images": description["name"]})


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--description", required=True, help="set.json of the image set")
    options.add_argument("--count", type=int, default=2000, help="images drawn at random")
    options.add_argument("--per-image", type=int, default=50, help="patches of each")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--output", required=True, help=".npy to write")
    run(main, options.parse_args())
