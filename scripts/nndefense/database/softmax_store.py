"""The key-value map: row id -> softmax row and confidence weights (Dubey et al. 2019, §4). NumPy only."""

from collections.abc import Sequence

import numpy as np

from nndefense.errors import FileFault, InputError

Part = tuple[int, int, np.ndarray, np.ndarray]


def to_half(softmax: np.ndarray) -> np.ndarray:
    """Softmax rows (n, C) float32 as float16, or unchanged if any float16 row's sum is off 1 by more than
    1e-3.

    Raises InputError for rows that are no distribution to begin with (NaN, negative, or a sum off by more
    than 1e-3).
    """
    sums = softmax.sum(axis=1, dtype=np.float64)
    # The comparisons are written so that NaN fails them.
    good = (np.abs(sums - 1) <= 1e-3) & (softmax.min(axis=1, initial=np.inf) >= 0)
    if not good.all():
        raise InputError(
            f"{int((~good).sum())} softmax rows are no distribution, the first is row {int(np.argmin(good))}"
        )
    half = softmax.astype(np.float16)
    close = np.abs(half.sum(axis=1, dtype=np.float64) - 1) <= 1e-3
    return half if close.all() else softmax


class SoftmaxStore:
    """Rows of several shards behind one id.

    parts: (start, stop, softmax (n, C) float16 or float32, weights (n, W) float32) with n = stop - start,
    memory maps welcome, in any order; ids between parts may be missing. Raises FileFault if the shapes or
    ranges do not fit.
    """

    def __init__(self, parts: Sequence[Part]):
        if not parts:
            raise FileFault("softmax store has no shards")
        self.parts = sorted(parts, key=lambda part: part[0])
        self.classes = self.parts[0][2].shape[-1]
        self.columns = self.parts[0][3].shape[-1]
        end = 0
        for start, stop, softmax, weights in self.parts:
            if start < end:
                raise FileFault(f"softmax shard {start}-{stop} overlaps the one before it, which ends at {end}")
            end = stop
            if softmax.shape != (stop - start, self.classes) or weights.shape != (stop - start, self.columns):
                raise FileFault(
                    f"softmax shard {start}-{stop} has softmax {softmax.shape} and weights {weights.shape}, "
                    f"expected {(stop - start, self.classes)} and {(stop - start, self.columns)}"
                )
        self._starts = np.array([part[0] for part in self.parts], dtype=np.int64)
        self._stops = np.array([part[1] for part in self.parts], dtype=np.int64)

    def take(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of the given ids (any shape, integer): softmax (..., C) float32, weights (..., W) float32,
        valid (...).

        An id of -1 reads no row: its softmax and weights are 0 and valid is False. Each row is read once, in
        the order of the file. Raises FileFault for any other id outside of the store.
        """
        ids = np.asarray(ids)
        valid = ids != -1
        rows, inverse = np.unique(ids[valid], return_inverse=True)
        part = np.searchsorted(self._starts, rows, side="right") - 1
        outside = (part < 0) | (rows >= self._stops[part])
        if outside.any():
            ranges = ", ".join(f"{start}-{stop}" for start, stop in zip(self._starts, self._stops, strict=True))
            raise FileFault(
                f"neighbour id {rows[outside][0]} is not in the softmax store ({ranges}); "
                "index and store do not belong together"
            )
        unique_softmax = np.empty((len(rows), self.classes), dtype=np.float32)
        unique_weights = np.empty((len(rows), self.columns), dtype=np.float32)
        for number in np.unique(part):
            here = part == number
            start, _, softmax, weights = self.parts[number]
            unique_softmax[here] = softmax[rows[here] - start]
            unique_weights[here] = weights[rows[here] - start]
        taken_softmax = np.zeros((*ids.shape, self.classes), dtype=np.float32)
        taken_weights = np.zeros((*ids.shape, self.columns), dtype=np.float32)
        taken_softmax[valid] = unique_softmax[inverse]
        taken_weights[valid] = unique_weights[inverse]
        return taken_softmax, taken_weights, valid
