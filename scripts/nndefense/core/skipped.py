"""Images that could not be used keep their row, so that ids stay stable; files list them, readers leave them out."""

from collections.abc import Iterable, Mapping

import numpy as np

from nndefense.core.errors import NNDefenseError


def usable_mask(count: int, skipped: Iterable[int]) -> np.ndarray:
    """(count,) bool: which positions are not skipped."""
    mask = np.ones(count, dtype=bool)
    mask[np.fromiter(skipped, dtype=np.int64)] = False
    return mask


def usable(count: int, skipped: Iterable[int]) -> np.ndarray:
    """Positions (int64) in range(count) that are not skipped, ascending."""
    return np.flatnonzero(usable_mask(count, skipped))


def check_skipped(skipped: Mapping[int, str], total: int, limit: float) -> str:
    """A sentence that counts skipped images by reason.

    Raises NNDefenseError if their share of `total` exceeds `limit`.
    """
    if not skipped:
        return f"read {total:,} images, none skipped"
    reasons = sorted(set(skipped.values()))
    counts = ", ".join(f"{reason}: {sum(one == reason for one in skipped.values())}" for reason in reasons)
    sentence = f"skipped {len(skipped):,} of {total:,} images ({counts})"
    if len(skipped) > limit * total:
        raise NNDefenseError(f"{sentence}; skip_limit allows a share of {limit:g}")
    return sentence
