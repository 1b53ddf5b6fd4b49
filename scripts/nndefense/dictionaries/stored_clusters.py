"""Clusters on disk, and which images they were made from, so that others can tell the cluster of each of them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import InputError
from nndefense.core.seals import fault
from nndefense.dictionaries.clusters import Clusters


@dataclass(frozen=True, eq=False)
class StoredClusters(Clusters):
    """Clusters with the images that they were made from, whose clusters are `members`.

    Attributes:
        labels: the class of each image, (n,) int64.
        rows: its id in the image set, (n,) int64, each once.
    """

    labels: NDArray[np.int64]
    rows: NDArray[np.int64]


NAMES = tuple(field.name for field in fields(StoredClusters))
INTEGERS = ("classes", "sizes", "members", "labels", "rows")


def write_clusters(
    path: str | Path, clusters: Clusters, labels: NDArray[np.integer], rows: NDArray[np.integer]
) -> None:
    """Write clusters as .npz.

    Args:
        path: of the file.
        clusters: of `find_clusters`.
        labels: (n,) that they were made with.
        rows: (n,) ids of the images that they were made from.

    Raises:
        InputError: what `read_clusters` would refuse.
    """
    arrays = {field.name: getattr(clusters, field.name) for field in fields(Clusters)}
    arrays |= {"labels": labels.astype(np.int64), "rows": rows.astype(np.int64)}
    if problem := _wrong_shape(arrays) or _wrong_value(arrays):
        raise InputError(f"clusters: {problem}")
    write_arrays(path, **arrays)


def read_clusters(path: str | Path) -> StoredClusters:
    """The clusters that `write_clusters` wrote.

    Raises:
        FileFault: a damaged file, or arrays whose shapes or values do not fit together.
    """
    arrays = read_arrays(path, *NAMES)
    if problem := _wrong_shape(arrays) or _wrong_value(arrays):
        raise fault(path, problem)
    return StoredClusters(**arrays)


def members_of(stored: StoredClusters, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """The cluster of each of these images, (m,).

    Args:
        stored: the clusters.
        rows: (m,) ids of images, in any order.

    Raises:
        InputError: an image that they were not made from.
    """
    order = np.argsort(stored.rows)
    places = order[np.searchsorted(stored.rows, rows, sorter=order).clip(max=len(order) - 1)]
    strange = stored.rows[places] != rows
    if strange.any():
        first = rows[strange.argmax()]
        raise InputError(f"image {first} is none of the {len(order)} images that the clusters were made from")
    return stored.members[places]


def _wrong_shape(arrays: dict[str, NDArray]) -> str | None:
    """The first array of another type or shape, in words; None if there is none."""
    for name, array in arrays.items():
        kind, words = (np.integer, "integers") if name in INTEGERS else (np.floating, "floating-point numbers")
        axes = 1 if name in INTEGERS else 2
        if not np.issubdtype(array.dtype, kind) or array.ndim != axes or not array.size:
            return f"{name} are {array.dtype} {array.shape}, expected {words} along {axes} axes, at least one"
    clusters, images = arrays["classes"].shape, arrays["members"].shape
    expected = {"sizes": clusters, "labels": images, "rows": images}
    expected["means"] = expected["deviations"] = (*clusters, arrays["means"].shape[1])
    expected["scores"] = (len(np.unique(arrays["classes"])), arrays["scores"].shape[1])
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            return f"{name} have shape {arrays[name].shape}, expected {shape}"
    return None


def _wrong_value(arrays: dict[str, NDArray]) -> str | None:
    """What does not fit in arrays of the right shapes, in words; None if nothing does not."""
    classes, members, rows = arrays["classes"], arrays["members"], arrays["rows"]
    if not all(np.isfinite(arrays[name]).all() for name in ("means", "deviations")) or arrays["deviations"].min() < 0:
        return "means and deviations must be finite, and deviations >= 0"
    if classes[0] < 0 or (np.diff(classes) < 0).any():
        return "classes must ascend from 0 or above"
    if members.min() < 0 or members.max() >= len(classes):
        return f"members are {members.min()} to {members.max()}; allowed: 0 to {len(classes) - 1}"
    if (np.bincount(members, minlength=len(classes)) != arrays["sizes"]).any():
        return "sizes do not count the members"
    if (classes[members] != arrays["labels"]).any():
        return "an image is in a cluster of another class than its label"
    if rows.min() < 0 or len(np.unique(rows)) < len(rows):
        return "rows must be ids >= 0, each once"
    return None
