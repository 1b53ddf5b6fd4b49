"""How an image set is noted down, and opened again with a check that it is still the same images."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nndefense.core.errors import FileFault
from nndefense.core.registry import make
from nndefense.images import KINDS
from nndefense.images.base import ImageSet


def open_options(options: Mapping[str, Any]) -> ImageSet:
    """Open a set from its configuration: `kind` and the options of that kind."""
    options = dict(options)
    return make("image set", KINDS, options.pop("kind"), options)


def sources_sha256(sources: np.ndarray) -> str:
    """SHA-256 over the sources (n,) str of all rows, in order."""
    return hashlib.sha256("\n".join(sources.tolist()).encode()).hexdigest()


def describe_set(name: str, options: Mapping[str, Any], image_set: ImageSet, sources: np.ndarray) -> dict[str, Any]:
    """What `set.json` holds: name, options, class names, number of rows and a checksum of their sources."""
    return {
        "name": name,
        "options": dict(options),
        "class_names": list(image_set.class_names),
        "rows": len(image_set),
        "sources_sha256": sources_sha256(sources),
    }


def open_described(description: Mapping[str, Any]) -> ImageSet:
    """Open a set from its description.

    Raises FileFault if its rows are not those that were listed: files came or went, so row ids mean other images.
    """
    image_set = open_options(description["options"])
    if sources_sha256(image_set.manifest()["source"]) != description["sources_sha256"]:
        raise FileFault(
            f"image set {description['name']}: its files changed since they were listed; "
            f"delete images/{description['name']}/manifest.parquet in the results and rerun"
        )
    return image_set


def read_blocks(
    image_set: ImageSet, rows: Sequence[int], size: int
) -> Iterator[tuple[slice, np.ndarray, dict[int, str]]]:
    """Read `rows` in blocks: (positions, uint8 images (b, H, W, 3), skipped position in `rows` -> reason)."""
    for start in range(0, len(rows), size):
        block = slice(start, min(start + size, len(rows)))
        batch = image_set.read(rows[block])
        yield block, batch.images, {start + position: reason for position, reason in batch.skipped.items()}
