"""Leave test images out of a shard of the database: rows that have the pixels of one, or nearly its code.

They are listed with the rows that have no code, so that searches, indexes and deployed defences treat them as such.
"""

import argparse

import numpy as np

from nndefense.core.arrays import read_array, read_arrays, write_array
from nndefense.core.blocks import read_blocks
from nndefense.core.command import Job, parser, run
from nndefense.core.seals import fault, read_seal
from nndefense.database.copies import copied_rows, near_rows
from nndefense.database.engines.grid import CELL
from nndefense.database.index import check_made_with
from nndefense.features.queries import query_codes
from nndefense.features.stored_pca import read_pca


def near(arguments: argparse.Namespace, facts: dict) -> np.ndarray:
    """Rows of the pool whose codes are nearly those of a test image."""
    pca, pca_id = read_pca(arguments.pca)
    check_made_with(arguments.codes, read_seal(arguments.codes)["about"], facts | {"pca": pca_id})
    ((_, queries),) = query_codes(arguments.queries, pca, {name: facts[name] for name in ("model", "layer")})
    found, start = [], facts["start"]
    for block in read_blocks(arguments.codes, CELL):
        found.append(start + near_rows(block, queries))
        start += len(block)
    return np.concatenate(found)


def main(arguments: argparse.Namespace, job: Job) -> None:
    skipped, facts = read_array(arguments.skipped)
    sums, about = read_array(arguments.pixels)
    check_made_with(arguments.pixels, about, {name: facts[name] for name in ("pool", "start", "stop")})
    if len(sums) != facts["stop"] - facts["start"]:
        raise fault(arguments.pixels, f"has {len(sums):,} sums of {facts['stop'] - facts['start']:,} images")
    same = facts["start"] + copied_rows(sums, read_arrays(arguments.clean, "pixels")["pixels"])
    nearly = near(arguments, facts) if arguments.codes else same
    left_out = np.unique(np.concatenate([skipped, same, nearly]))
    job.say(
        f"{len(same):,} of {len(sums):,} images are test images, pixel by pixel, {len(np.setdiff1d(nearly, same)):,} "
        f"more nearly; {len(left_out) - len(skipped):,} left out"
    )
    write_array(arguments.output, left_out.astype(np.int64), facts)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--skipped", required=True, help="rows without a code of the shard, .npy")
    options.add_argument("--pixels", required=True, help="sums of its images' pixels, .npy")
    options.add_argument("--clean", required=True, help="the clean query set, .npz, with the sums of its pixels")
    options.add_argument("--codes", help="its codes, .npy, where near copies are left out, too")
    options.add_argument("--queries", help="features of the clean query set, .npy")
    options.add_argument("--pca", help=".npz of the pool's PCA")
    options.add_argument("--output", required=True, help="rows that are not searched, .npy to write")
    run(main, options.parse_args())
