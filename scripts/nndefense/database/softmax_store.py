"""The key-value map: row id -> softmax row and confidence weights (Dubey et al. 2019, §4), or code. NumPy only."""

from collections.abc import Sequence

import numpy as np

from nndefense.core.errors import FileFault, InputError
from nndefense.database.row_checks import Rows

# Rounding is off by 2^-11 of a probability, or by 2^-25 of a very small one.
HALF_CLASSES = 16384

# All numbers of float16, by their bits.
SINGLE = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
BLOCK_NUMBERS = 1 << 15

Part = tuple[int, int, Rows, Rows]


def to_half(softmax: np.ndarray) -> np.ndarray:
    """Softmax rows as float16, or unchanged if any float16 row's sum is off 1 by more than 1e-3.

    Args:
        softmax: (n, C) float32.

    Raises:
        InputError: rows that are no distribution to begin with (NaN, negative, or a sum off by more than 1e-3).
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


def to_stored(softmax: np.ndarray) -> np.ndarray:
    """Softmax rows as a store holds them: float16, whose sums are off by less than 1e-3 up to HALF_CLASSES classes.

    So the type of a file does not depend on its rows, which come block by block. Errors as of `to_half`.
    """
    half = to_half(softmax)
    return half if softmax.shape[1] <= HALF_CLASSES else softmax.astype(np.float32, copy=False)


class ShardRows:
    """Rows of several shards behind one id; ids between shards may be missing.

    Args:
        parts: (start, stop, array, ...) with arrays of (stop - start, width) in any order, also memory maps, readers of
            files or rows with checksums (`CheckedRows`); every shard has the same number of arrays, of the same widths.
        noun: what messages call the rows.

    Raises:
        FileFault: shapes or ranges do not fit.
    """

    def __init__(self, parts: Sequence[tuple], noun: str = "code") -> None:
        if not parts:
            raise FileFault(f"{noun} store has no shards")
        self.noun = noun
        self.parts = sorted(parts, key=lambda part: part[0])
        self.widths = [array.shape[-1] for array in self.parts[0][2:]]
        end = 0
        for start, stop, *arrays in self.parts:
            if start < end:
                raise FileFault(f"{noun} shard {start}-{stop} overlaps the one before it, which ends at {end}")
            end = stop
            shapes, expected = [array.shape for array in arrays], [(stop - start, width) for width in self.widths]
            if shapes != expected:
                raise FileFault(f"{noun} shard {start}-{stop} has arrays {shapes}, expected {expected}")
        self._types = [
            np.result_type(*{array.dtype for array in arrays}) for arrays in [*zip(*self.parts, strict=True)][2:]
        ]
        self._starts = np.array([part[0] for part in self.parts], dtype=np.int64)
        self._stops = np.array([part[1] for part in self.parts], dtype=np.int64)

    @property
    def rows(self) -> int:
        """Number of rows in all shards."""
        return int((self._stops - self._starts).sum())

    def rows_of(self, ids: np.ndarray) -> list[np.ndarray]:
        """Rows of the given ids, one array (..., width) per array of the shards: float32, or uint8 as stored.

        Args:
            ids: integers, any shape. -1 reads no row: there the arrays are 0.

        Raises:
            FileFault: any other id outside of the shards; a row that differs from its checksum, where there are any.
        """
        ids = np.asarray(ids)
        valid = ids != -1
        if ids.size >= self.rows:
            wanted, inverse = ids[valid], np.arange(valid.sum())
        else:
            # Each row is read once, in the order of the file.
            wanted, inverse = np.unique(ids[valid], return_inverse=True)
        part = np.searchsorted(self._starts, wanted, side="right") - 1
        outside = (part < 0) | (wanted >= self._stops[part])
        if outside.any():
            ranges = ", ".join(f"{start}-{stop}" for start, stop in zip(self._starts, self._stops, strict=True))
            raise FileFault(
                f"neighbour id {wanted[outside][0]} is not in the {self.noun} store ({ranges}); "
                "index and store do not belong together"
            )
        found = []
        for place, width in enumerate(self.widths, start=2):
            read = np.empty((len(wanted), width), dtype=self._types[place - 2])
            for number in np.unique(part):
                here = part == number
                read[here] = self.parts[number][place][wanted[here] - self._starts[number]]
            found.append(_spread(read, inverse, valid))
        return found


class SoftmaxStore(ShardRows):
    """Softmax rows and confidence weights of several shards behind one id.

    Args:
        parts: (start, stop, softmax (n, C) float16 or float32, weights (n, W) float32) with n = stop - start, in any
            order; ids between parts may be missing.

    Raises:
        FileFault: shapes or ranges do not fit.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__(parts, "softmax")
        self.classes = self.widths[0]

    def take(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Softmax rows (..., C) float32, weights (..., W) float32, and which ids are valid (...), that is not -1.

        Args:
            ids: integers, any shape. -1 reads no row: its softmax and weights are 0.

        Raises:
            FileFault: any other id outside of the store; a row that differs from its checksum, where there are any.
        """
        softmax, weights = self.rows_of(ids)
        return softmax, weights, np.asarray(ids) != -1


def _spread(rows: np.ndarray, inverse: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Rows (n, width) at the places that are valid (...), in the order of inverse; float32, or uint8 as given."""
    width = rows.shape[1]
    taken = np.zeros((valid.size, width), dtype=np.uint8 if rows.dtype == np.uint8 else np.float32)
    places = np.flatnonzero(valid)
    block = max(1, BLOCK_NUMBERS // max(1, width))
    for start in range(0, len(places), block):
        part = slice(start, start + block)
        taken[places[part]] = _single(rows[inverse[part]])
    return taken.reshape(*valid.shape, width)


def _single(rows: np.ndarray) -> np.ndarray:
    """As `astype(np.float32)`, which loops over the bits of numbers below 6e-5; softmax rows are full of them."""
    return SINGLE.take(rows.view(np.uint16)) if rows.dtype == np.float16 else rows
