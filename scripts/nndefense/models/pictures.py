"""What the scripts that train share: the readable, labelled images of a set, in memory."""

from typing import NamedTuple

import numpy as np

from nndefense.core.command import Job
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.progress import Progress
from nndefense.core.skipped import check_skipped, usable
from nndefense.core.tables import read_table
from nndefense.images.classes import ClassList
from nndefense.images.description import open_described, read_blocks


class Pictures(NamedTuple):
    """uint8 images (n, H, W, 3), labels (n,) and row ids (n,) of the readable rows of a set."""

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


def read_pictures(
    job: Job,
    description: str,
    manifest: str,
    *,
    key: str,
    classes: int | None,
    skip_limit: float,
    count: int | None = None,
    seed: int = 0,
) -> Pictures:
    """All images of a set, or `count` of them drawn at random with the seed, in the set's order.

    key: of the configuration, for messages. classes: labels are below; None: any.
    Raises InputError for labels beyond the classes, for another number of classes where the set numbers its own, for
    fewer images than `count`, and where a larger share than `skip_limit` cannot be read.
    """
    about = read_json(description)
    labels = read_table(manifest, "label")["label"]
    rows = np.arange(len(labels))
    if count is not None:
        if count > len(rows):
            raise InputError(f"{key}: {count} images of {about['name']}, which has {len(rows)}")
        rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    labels = labels[rows]
    if labels.min(initial=0) < 0 or (classes is not None and labels.max(initial=0) >= classes):
        allowed = "from 0" if classes is None else f"0 to {classes - 1} (`classes` is {classes})"
        raise InputError(f"{key}: {about['name']} has labels {labels.min()} to {labels.max()}; allowed: {allowed}")
    ClassList.of_set(about).check_count(classes, key)
    return read_rows(job, description, labels, rows, skip_limit)


def read_rows(job: Job, description: str, labels: np.ndarray, rows: np.ndarray, skip_limit: float) -> Pictures:
    """The readable ones of these rows of a set; description: its set.json, labels: (n,) of the rows.

    Raises InputError where a larger share than `skip_limit` cannot be read.
    """
    blocks: list[np.ndarray] = []
    skipped: dict[int, str] = {}
    with Progress(f"read {read_json(description)['name']}", len(rows), "images", job.log) as progress:
        for block, images, bad in read_blocks(open_described(description), rows, 512):
            blocks.append(images)
            skipped |= bad
            progress.advance(block.stop - block.start)
    job.say(check_skipped(skipped, len(rows), skip_limit))
    good = usable(len(rows), skipped)
    return Pictures(np.concatenate(blocks)[good], labels[good], rows[good])
