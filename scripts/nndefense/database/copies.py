"""Images of a query set that a database has, too: exact copies by pixels, near ones by codes. NumPy only."""

from collections.abc import Iterable

import numpy as np

from nndefense.core.errors import InputError
from nndefense.database.row_checks import checks_at

# What stands for an image that could not be read, and is a copy of none.
UNREAD = np.uint64(0)
# Where no row is a copy: behind every database.
NOWHERE = np.iinfo(np.int64).max
# Largest distance of a code from a query's, as a share of the query's length, of images that are nearly the same.
NEAR = 0.02
# Codes compared at a time.
BLOCK = 4096


def pixel_sums(images: np.ndarray, skipped: Iterable[int] = ()) -> np.ndarray:
    """One number per image, (n,) uint64, which depends on its pixels alone: others have another, but by chance (2^-64).

    Args:
        images: (n, H, W, 3) uint8.
        skipped: places of images that could not be read; they have UNREAD, which no other has.

    Raises:
        InputError: images of another shape or type.
    """
    if images.ndim != 4 or images.dtype != np.uint8:
        raise InputError(f"images have shape {images.shape} and type {images.dtype}; allowed: (n, H, W, 3) uint8")
    sums = checks_at(images.reshape(len(images), -1), np.zeros(len(images), dtype=np.int64))
    sums[sums == UNREAD] = 1
    sums[list(skipped)] = UNREAD
    return sums


def first_copies(wanted: np.ndarray, shards: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
    """The first row of a pool that has the pixels of each query, (Q,) int64; NOWHERE without one.

    Args:
        wanted: (Q,) uint64, of the queries, as `pixel_sums` gives them.
        shards: first row, and sums (n,) of the images from there on.
    """
    values, inverse = np.unique(wanted, return_inverse=True)
    found = np.full(len(values), NOWHERE, dtype=np.int64)
    for start, sums in shards:
        places = np.searchsorted(values, sums).clip(max=max(0, len(values) - 1))
        rows = np.flatnonzero((values[places] == sums) & (sums != UNREAD)) if len(values) else places[:0]
        np.minimum.at(found, places[rows], start + rows)
    return found[inverse]


def copied_rows(sums: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Places (m,), ascending, of images whose sums (n,) are among those wanted (Q,)."""
    return np.flatnonzero(np.isin(sums, wanted) & (sums != UNREAD))


def near_rows(codes: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Places (m,), ascending, of codes that are nearly those of some query, as of `nearly_there`.

    Args:
        codes: (n, d) float16 or float32, or packed bits uint8.
        queries: (Q, d) float32; those that are not finite are near to none.
    """
    queries = queries[np.isfinite(queries).all(axis=1)]
    if codes.dtype == np.uint8:
        width = queries.shape[1]
        codes = np.unpackbits(codes, axis=1, count=width) * np.float32(2) - 1
        queries = np.where(queries > 0, np.float32(1), np.float32(-1))
    codes, near = codes.astype(np.float32, copy=False), np.zeros(len(codes), dtype=bool)
    lengths = [np.square(one, dtype=np.float64).sum(axis=1) for one in (codes, queries)]
    for start in range(0, len(codes), BLOCK):
        part = slice(start, start + BLOCK)
        distances = lengths[0][part, None] + lengths[1] - 2.0 * (codes[part] @ queries.T)
        near[part] = (distances <= NEAR**2 * lengths[1]).any(axis=1)
    return np.flatnonzero(near)


def nearly_there(codes: np.ndarray, distances: np.ndarray, *, bits: bool = False) -> np.ndarray:
    """Which queries have a code within NEAR of their own length, (Q,) bool; an exact copy always counts.

    The tolerance follows the length, as rounding does: |q|² + |c|² - 2 q·c is wrong by some 1e-7 of |q|².

    Args:
        codes: (Q, d) float32, of the queries.
        distances: (Q,) to the nearest code: squared l2, or Hamming; inf without one.
        bits: whether codes are compared by their signs: a vector of d signs has the squared length d, and one that
            differs adds 4 to a squared distance.
    """
    if bits:
        lengths, distances = np.full(len(codes), float(codes.shape[1])), 4.0 * distances
    else:
        lengths = np.square(codes, dtype=np.float64).sum(axis=1)
    return distances <= NEAR**2 * lengths
