"""Draw the gallery of a retrieval task and its queries: other images, at random, also where both are of one set."""

import argparse

import numpy as np

from nndefense.core.arrays import write_arrays
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.seeds import derive_seed
from nndefense.core.tables import read_table
from nndefense.images.classes import ClassList
from nndefense.models.pictures import read_rows


def read_images(
    arguments: argparse.Namespace, job: Job, side: str, count: int | None, taken: np.ndarray
) -> dict[str, np.ndarray]:
    """Readable images of a side, drawn at random but for the rows `taken`: images, labels, rows."""
    labels = read_table(getattr(arguments, f"{side}_manifest"), "label")["label"]
    place = f"retrieval.tasks.{arguments.task}.{side}"
    random = np.random.default_rng(derive_seed(arguments.seed, "task", arguments.task, side))
    free = np.setdiff1d(np.flatnonzero(labels >= 0), taken)
    if len(free) < (count or 1):
        raise InputError(f"{place}_count: {count or 'all'} images of {len(free)} that have a label and are not taken")
    rows = np.sort(random.permutation(free)[:count])
    return read_rows(job, getattr(arguments, side), labels[rows], rows, arguments.skip_limit)._asdict()


def check_classes(arguments: argparse.Namespace) -> None:
    """Raises InputError where labels of the two sides mean different classes."""
    gallery, queries = (ClassList.of_set(read_json(path)) for path in (arguments.gallery, arguments.queries))
    key = f"retrieval.tasks.{arguments.task}"
    gallery.check_count(None, key)
    gallery.check_same(queries, key)


def main(arguments: argparse.Namespace, job: Job) -> None:
    check_classes(arguments)
    nothing = np.zeros(0, dtype=np.int64)
    gallery = read_images(arguments, job, "gallery", arguments.gallery_count, nothing)
    taken = gallery["rows"] if arguments.same_set else nothing
    queries = read_images(arguments, job, "queries", arguments.queries_count, taken)
    if gallery["images"].shape[1:] != queries["images"].shape[1:]:
        raise InputError(
            f"retrieval.tasks.{arguments.task}: gallery images are {gallery['images'].shape[1:]}, "
            f"queries {queries['images'].shape[1:]}; allowed: one size"
        )
    known = np.isin(queries["labels"], gallery["labels"])
    job.say(
        f"{len(known):,} queries among {len(gallery['labels']):,} images of "
        f"{len(np.unique(gallery['labels']))} classes; "
        f"{int((~known).sum())} queries of classes that the gallery lacks are never right"
    )
    sides = {"gallery": gallery, "queries": queries}
    write_arrays(
        arguments.output, **{f"{side}/{name}": one[name] for side, one in sides.items() for name in sorted(one)}
    )


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--task", required=True, help="its name")
    options.add_argument("--gallery", required=True, help="set.json of the gallery's image set")
    options.add_argument("--gallery-manifest", required=True, help="its manifest.parquet")
    options.add_argument("--gallery-count", type=int, help="images of the gallery (default: all)")
    options.add_argument("--queries", required=True, help="set.json of the queries' image set")
    options.add_argument("--queries-manifest", required=True, help="its manifest.parquet")
    options.add_argument("--queries-count", type=int, help="queries (default: all)")
    options.add_argument("--same-set", action="store_true", help="both are of one set: no image is in both")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--skip-limit", type=float, default=0.01, help="largest share of unreadable images")
    options.add_argument("--output", required=True, help=".npz to write")
    run(main, options.parse_args())
