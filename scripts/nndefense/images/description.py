"""How an image set is noted down, and opened again as what was listed."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.files import read_json, write_json
from nndefense.core.registry import make
from nndefense.images import KINDS
from nndefense.images.base import ImageSet, changed
from nndefense.images.manifest import StoredManifest, write_manifest


def open_options(options: Mapping[str, Any]) -> ImageSet:
    """Open a set from its configuration: `kind` and the options of that kind. Lists nothing."""
    options = dict(options)
    return make("image set", KINDS, options.pop("kind"), options)


def list_set(
    name: str,
    options: Mapping[str, Any],
    description: str | Path,
    manifest: str | Path,
    advance: Callable[[int], object] = lambda rows: None,
) -> dict[str, Any]:
    """List a set, and write its manifest and set.json.

    Args:
        name: of the set.
        options: as of `open_options`.
        description: set.json to write.
        manifest: manifest.parquet to write.
        advance: is told the number of rows whenever some are listed.

    Returns:
        What set.json holds: name, options, class names, where labels come from, number of rows, how images are cut,
        and where the manifest is, from set.json's folder, with a checksum of its content.
    """
    image_set = open_options(options)
    write_manifest(manifest, image_set, advance)
    image_set.listed = StoredManifest(manifest)
    about = {
        "name": name,
        "options": dict(options),
        "class_names": list(image_set.class_names),
        "labels": image_set.labels_by,
        "noted": image_set.noted(),
        "rows": len(image_set),
        "size": image_set.size,
        "resize": image_set.resize,
        "crop": image_set.crop,
        "manifest": Path(os.path.relpath(manifest, Path(description).parent)).as_posix(),
        "manifest_sha256": image_set.listed.sha256,
    }
    write_json(description, about)
    return about


def open_described(description: str | Path) -> ImageSet:
    """Open a set as what was listed, whatever has come since; takes no longer for more rows.

    Args:
        description: its set.json; names its manifest.

    Raises:
        FileFault: the manifest is of another listing, or the set has another number of rows now.
    """
    about = read_json(description)
    manifest = Path(description).parent / about.get("manifest", "manifest.parquet")
    stored = StoredManifest(manifest)
    if stored.sha256 is None or stored.sha256 != about.get("manifest_sha256"):
        raise changed(about["name"], f"{manifest} is of another listing than {description}")
    image_set = open_options(about["options"])
    image_set.adopt(about, stored, stored.facts)
    return image_set


def read_blocks(
    image_set: ImageSet, rows: Sequence[int] | np.ndarray, size: int
) -> Iterator[tuple[slice, np.ndarray, dict[int, str]]]:
    """Read `rows` in blocks: (positions, uint8 images (b, H, W, 3), skipped position in `rows` -> reason)."""
    for start in range(0, len(rows), size):
        block = slice(start, min(start + size, len(rows)))
        batch = image_set.read(rows[block])
        yield block, batch.images, {start + position: reason for position, reason in batch.skipped.items()}
