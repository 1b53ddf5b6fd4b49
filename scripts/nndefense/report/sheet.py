"""A contact sheet of an image set: one row per tag."""

from collections.abc import Sequence

import numpy as np

from nndefense.core.errors import InputError
from nndefense.core.text import visible


def choose_rows(tags: np.ndarray, columns: int, limit: int) -> list[tuple[str, np.ndarray]]:
    """The first `columns` rows of each of the `limit` most frequent tags, alphabetically; "" is "untagged"."""
    names, counts = np.unique(tags, return_counts=True)
    frequent = sorted(names[np.argsort(-counts, kind="stable")][:limit])
    return [(visible(str(name)) or "untagged", np.flatnonzero(tags == name)[:columns]) for name in frequent]


def arrange(rows: Sequence[np.ndarray], gap: int = 2) -> np.ndarray:
    """Rows of uint8 images (n_i, H, W, 3), one below the other on white; uint8 (height, width, 3)."""
    if not rows or not any(len(row) for row in rows):
        raise InputError("contact sheet: no images")
    columns = max(len(row) for row in rows)
    height, width = rows[0].shape[1:3]
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    canvas = np.full(shape, 255, np.uint8)
    for number, row in enumerate(rows):
        for place, image in enumerate(row):
            top, left = number * (height + gap), place * (width + gap)
            canvas[top : top + height, left : left + width] = image
    return canvas
