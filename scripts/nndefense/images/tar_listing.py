"""Listing tars: a row a sample, at the cost of headers and of the small files that labels and tags stand in."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nndefense.core.errors import InputError
from nndefense.images.decode import MAX_BYTES, Undecodable
from nndefense.images.sample_notes import Notes
from nndefense.images.tags import NO_CLASS
from nndefense.images.tars import Member, Sample, read_samples
from nndefense.images.walk import SUFFIXES


@dataclass(frozen=True)
class Part:
    """The samples of one tar.

    Attributes:
        sources: (n,) bytes, UTF-8: the tar and the image in it, its offset and its length in bytes.
        classes: (n, 2) int64: label and class of the tag, as `Notes.read` numbers these.
        skipped: (n,) bytes: why a row is skipped; empty if it is not.
    """

    sources: np.ndarray
    classes: np.ndarray
    skipped: np.ndarray


def tar_name(path: str) -> str:
    """What sources call a tar, whatever the bytes of its path; path: from the folder that all of them share."""
    return path.encode("utf-8", "backslashreplace").decode()


def list_tar(path: Path, name: str, notes: Notes) -> tuple[Part, int, int]:
    """List a tar: reads its headers, and of its files those that `notes` needs.

    Args:
        path: of the tar.
        name: what sources call it.
        notes: reads labels and tags.

    Returns:
        Its samples, its size in bytes, and when it was written, in whole seconds since 1970.

    Raises:
        InputError: the tar cannot be opened, or a label is no class.
    """
    sources, columns, skipped = [], [], []
    try:
        with open(path, "rb") as handle:
            about = os.fstat(handle.fileno())
            for sample in read_samples(handle):
                image, classes, fault = Member(sample.key, sample.offset, 0), (NO_CLASS, NO_CLASS), ""
                try:
                    image = _image(sample)
                    classes = notes.read(handle, sample, f"{name}/{sample.key}")
                except Undecodable as reason:
                    fault = str(reason)
                sources.append(f"{name}/{image.name}@{image.offset}+{image.size}".encode())
                columns.append(classes)
                skipped.append(fault.encode())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); allowed: tars that can") from error
    pairs = np.array(columns, dtype=np.int64).reshape(-1, 2)
    return (
        Part(np.array(sources, dtype=np.bytes_), pairs, np.array(skipped, dtype=np.bytes_)),
        about.st_size,
        int(about.st_mtime),
    )


def _image(sample: Sample) -> Member:
    """The image of a sample. Raises Undecodable if it is to be skipped."""
    if sample.fault:
        raise Undecodable(sample.fault)
    named = {f".{suffix}": one for suffix, one in sample.files.items() if f".{suffix}".endswith(SUFFIXES)}
    # Beside `a.jpg`, `a.mask.png` is no second image.
    images = [one for suffix, one in named.items() if suffix in SUFFIXES] or list(named.values())
    if len(images) != 1:
        raise Undecodable("several images" if images else "no image")
    if images[0].size > MAX_BYTES:
        raise Undecodable("too large")
    return images[0]


def spooled(parts: Iterable[Part]) -> Iterator[Part]:
    """The same parts, once all of them have come; they wait on the disk."""
    count = 0
    with tempfile.TemporaryFile() as spool:
        for part in parts:
            count += 1
            for array in (part.sources, part.classes, part.skipped):
                np.save(spool, array, allow_pickle=False)
        spool.seek(0)
        for _ in range(count):
            yield Part(*(np.load(spool, allow_pickle=False) for _ in range(3)))
