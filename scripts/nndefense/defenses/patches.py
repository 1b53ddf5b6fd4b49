"""The patch database of image quilting: cutting, sampling, indexing and finding patches (Guo et al. 2018, §3.4)."""

import faiss
import numpy as np
from numpy.typing import NDArray

from nndefense.core.errors import InputError
from nndefense.core.streams import stream
from nndefense.database.index import build_index, search
from nndefense.defenses import PATCH_SIZE

# Patches that are looked for at once.
_QUERIES = 1 << 16


def sample_patches(
    images: NDArray[np.uint8],
    per_image: int = 50,
    seed: int = 0,
    *,
    size: int = PATCH_SIZE,
    rows: NDArray[np.integer] | None = None,
) -> NDArray[np.uint8]:
    """Square patches at random places of each image: (n * per_image, size * size * 3) uint8, image by image.

    Give images drawn at random: the code of Guo et al. takes the first 20,000 files, which are of few classes.

    Args:
        images: (n, H, W, 3) uint8.
        per_image: patches of each.
        seed: an image's places depend on (seed, row) alone.
        size: side of a patch.
        rows: (n,) ids (default 0 .. n-1).

    Raises:
        InputError: other images, images smaller than a patch, or less than one patch.
    """
    _check_images(images, size)
    if per_image < 1:
        raise InputError(f"{per_image} patches per image: at least 1 is needed")
    views = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    found = np.empty((len(images), per_image, size, size, 3), np.uint8)
    for place, row in enumerate(range(len(images)) if rows is None else np.asarray(rows).tolist()):
        tops, lefts = stream(seed, row).integers(np.array(views.shape[1:3])[:, None], size=(2, per_image))
        found[place] = views[place, tops, lefts].transpose(0, 2, 3, 1)
    return found.reshape(len(images) * per_image, -1)


def grid_patches(images: NDArray, size: int = PATCH_SIZE, stride: int = 3) -> NDArray:
    """Patches of padded images on a grid: (n, H, W, 3) of any dtype -> (n, rows * columns, size * size * 3).

    Args:
        images: sides are `size` plus a multiple of the stride; see `padding`.
        size: side of a patch.
        stride: from a patch to the next.
    """
    _check_images(images, size, any_dtype=True)
    views = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.ascontiguousarray(views.transpose(0, 1, 2, 4, 5, 3)).reshape(len(images), -1, size * size * 3)


def padding(side: int, size: int = PATCH_SIZE, stride: int = 3) -> int:
    """Pixels that a side needs behind it, for patches at the stride to cover it: 0 for 32, 224 and 299 pixels."""
    steps = max(0, -((size - side) // stride))
    return size + steps * stride - side


def build_patch_index(patches: NDArray[np.uint8], factory: str = "Flat") -> faiss.Index:
    """FAISS index of patches (N, d) uint8 by their values in [0, 1].

    Args:
        patches: their values in the order row, column, channel.
        factory: FAISS factory string; "Flat" is exact.

    Raises:
        ConfigError, InputError: as `nndefense.database.index.build_index`.
    """
    index = build_index(_codes(patches), factory)
    assert isinstance(index, faiss.Index)
    return index


def nearest_patches(
    index: faiss.Index, queries: NDArray[np.float32], neighbors: int = 1, nprobe: int | None = None
) -> NDArray[np.int64]:
    """Ids (Q, neighbors) of the patches nearest to queries (Q, d) float32 in [0, 1], nearest first.

    Where an approximate index finds too few, the nearest fills their places.

    Args:
        index: as `build_patch_index` makes it.
        queries: any number.
        neighbors: patches found for each.
        nprobe: cells visited, IVF indexes only.

    Raises:
        InputError: the index finds nothing.
    """
    found = [
        search(index, queries[start : start + _QUERIES], neighbors, nprobe=nprobe)[0]
        for start in range(0, len(queries), _QUERIES)
    ]
    ids = np.concatenate(found)
    if (ids[:, 0] < 0).any():
        raise InputError(f"the patch index finds nothing for {int((ids[:, 0] < 0).sum())} patches; raise nprobe")
    return np.where(ids < 0, ids[:, :1], ids)


def _codes(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    if patches.ndim != 2 or patches.dtype != np.uint8:
        raise InputError(f"patches must be (N, d) uint8, got {patches.shape} {patches.dtype}")
    return patches.astype(np.float32) / np.float32(255)


def _check_images(images: NDArray, size: int, any_dtype: bool = False) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or not (any_dtype or images.dtype == np.uint8):
        raise InputError(f"images are {images.dtype} {images.shape}: uint8 (n, height, width, 3) is needed")
    if min(images.shape[1:3]) < size:
        raise InputError(f"images of {images.shape[1]} x {images.shape[2]} pixels hold no patch of {size} x {size}")
