"""Embeddings of noisy copies of an image, read block by block, so that memory does not grow with their number."""

from collections.abc import Iterator

import numpy as np

from nndefense.core.errors import InputError
from nndefense.core.progress import blocks

BLOCK = 2048
# A unit vector of float16 may be longer than 1 by 2^-11.
LONGEST = 1 + 1e-3


def read_blocks(draws: np.ndarray, nonnegative: bool) -> Iterator[np.ndarray]:
    """Rows of embeddings in float64, checked, none longer than 1.

    Rows that rounding made longer than 1 are shortened: what is certified is the embedding so shortened, as good a
    function of the image as any other.

    Args:
        draws: (n, D), float16 to float64, possibly a memory map.
        nonnegative: entries must not be negative.

    Yields:
        (at most BLOCK, D) float64.

    Raises:
        InputError: a row that is longer than 1 by more than rounding, not finite, or negative where it must not be.
    """
    for part in blocks(len(draws), BLOCK):
        rows = np.asarray(draws[part]).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1)
        if not (lengths <= LONGEST).all():
            raise InputError(f"an embedding has length {lengths.max():.6g}; allowed: at most 1")
        if nonnegative and (rows < 0).any():
            raise InputError(f"an embedding has the entry {rows.min():.6g}; allowed: none below 0")
        yield rows / np.maximum(lengths, 1)[:, None]


def mean_of(draws: np.ndarray, nonnegative: bool) -> np.ndarray:
    """Mean embedding, (D,) float64; arguments and errors as of `read_blocks`."""
    return sum(rows.sum(axis=0) for rows in read_blocks(draws, nonnegative)) / len(draws)


def moments_of(
    draws: np.ndarray, normals: np.ndarray, centre: np.ndarray, nonnegative: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean embedding, and mean and variance of its projections, in one pass.

    Args:
        draws, nonnegative: as of `read_blocks`; n >= 2 rows.
        normals: (J, D) unit vectors.
        centre: (D,), near the mean, from which squares are taken so that they do not cancel.

    Returns:
        Mean (D,), means (J,) and unbiased variances (J,) of normal . h.
    """
    n = len(draws)
    total, first, second = np.zeros(len(centre)), np.zeros(len(normals)), np.zeros(len(normals))
    for rows in read_blocks(draws, nonnegative):
        total += rows.sum(axis=0)
        offsets = (rows - centre) @ normals.T
        first += offsets.sum(axis=0)
        second += np.einsum("nj,nj->j", offsets, offsets)
    variances = np.maximum(second - first**2 / n, 0) / (n - 1)
    return total / n, first / n + normals @ centre, variances
