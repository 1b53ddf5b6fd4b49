"""Blocks of codes, however a database is cut into shards, put in place on a fixed grid of its rows.

A matrix product rounds otherwise where a row stands at another place or the product has another shape, which changes
distances and even ids. So every row is always multiplied together with the same rows: those of its grid line.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nndefense.core.errors import InputError

# Rows of one matrix product, counted from the start of the pool. FAISS's own number: a larger one is no faster.
GRID = 1024
# Rows that are searched at a time. Nothing but memory and time depends on it.
CELL = 64 * GRID


@dataclass(frozen=True)
class Cell:
    """Some consecutive rows of a pool, padded to whole grid lines.

    Attributes:
        start: row of the pool that codes[0] stands for, a multiple of GRID.
        stop: row of the pool behind the last row that was read.
        codes: (n, d), n a multiple of GRID, valid until the next cell. Rows without a code are NaN, of bits 0.
        usable: (n,) bool, which rows have a code.
    """

    start: int
    stop: int
    codes: np.ndarray
    usable: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Rows of the pool that have a code, int64, ascending."""
        return self.start + np.flatnonzero(self.usable)

    def copy(self) -> "Cell":
        """The same, valid for good."""
        return Cell(self.start, self.stop, self.codes.copy(), self.usable.copy())


def cells(
    blocks: Iterable[np.ndarray],
    *,
    first: int = 0,
    skipped: Iterable[np.ndarray] = (),
    stops: Sequence[int] = (),
    dtype: np.dtype | type | None = None,
) -> Iterator[Cell]:
    """Yield consecutive blocks as cells that end at multiples of CELL and at `stops`. Holds one cell and one block.

    Both iterables are run to their ends, so that their files are verified (`nndefense.core.blocks`).

    Args:
        blocks: (n, d) of any n >= 0, one after the other.
        first: row of the pool that the first of them stands for, >= 0.
        skipped: rows of the pool that have no code, ascending integers, in pieces; others than those read are ignored.
        stops: rows of the pool behind which a cell has to end.
        dtype: of the codes in the cells; that of the blocks without.

    Raises:
        InputError: blocks of different width or type, a first row below 0, or skipped rows that do not ascend.
    """
    if first < 0:
        raise InputError(f"the first row is {first}; allowed: an integer >= 0")
    gaps, edges = _Gaps(skipped), np.array(sorted(stops), dtype=np.int64)
    buffer: Any = None
    start = at = first
    for block in blocks:
        if buffer is None and block.ndim == 2:
            buffer, kind = np.empty((CELL, block.shape[1]), dtype or block.dtype), block.dtype
        if block.ndim != 2 or block.shape[1] != buffer.shape[1] or block.dtype != kind:
            raise InputError(f"blocks of codes must be (n, d) of one type, got {block.shape} {block.dtype}")
        while len(block):
            later = edges[np.searchsorted(edges, at, side="right") :]
            edge = min([CELL * (at // CELL + 1), *later[:1].tolist()])
            part, block = block[: edge - at], block[edge - at :]
            buffer[at % CELL : at % CELL + len(part)] = part
            at += len(part)
            if at == edge:
                yield _cell(buffer, start, at, gaps)
                start = at
    if at > start:
        yield _cell(buffer, start, at, gaps)
    gaps.finish()


def _cell(buffer: np.ndarray, start: int, stop: int, gaps: "_Gaps") -> Cell:
    """Rows start to stop of the pool, which stand in the buffer; what else is in their grid lines is overwritten."""
    corner = CELL * (start // CELL)
    low, high = GRID * (start // GRID), GRID * -(-stop // GRID)
    usable = np.zeros(high - low, dtype=bool)
    usable[start - low : stop - low] = True
    usable[gaps.within(start, stop) - low] = False
    codes = buffer[low - corner : high - corner]
    if not usable.all():
        # FAISS keeps no code at a distance that is NaN.
        codes[~usable] = np.nan if codes.dtype.kind == "f" else 0
    return Cell(low, stop, codes, usable)


class _Gaps:
    """Skipped rows, read as far as they are needed."""

    def __init__(self, pieces: Iterable[np.ndarray]) -> None:
        self.pieces, self.pending, self.last = iter(pieces), np.empty(0, dtype=np.int64), -1

    def within(self, start: int, stop: int) -> np.ndarray:
        """Those in [start, stop); the start of a call is never below the stop of the call before."""
        held = [self.pending]
        while self.last < stop and (piece := next(self.pieces, None)) is not None:
            if piece.ndim != 1 or piece.dtype.kind not in "iu" or (np.diff(piece, prepend=self.last) <= 0).any():
                raise InputError("skipped rows must be integers >= 0 that ascend")
            self.last = int(piece[-1]) if len(piece) else self.last
            held.append(piece[piece >= start].astype(np.int64, copy=False))
        rows = np.concatenate(held)
        low, high = np.searchsorted(rows, [start, stop])
        self.pending = rows[high:]
        return rows[low:high]

    def finish(self) -> None:
        for _ in self.pieces:
            pass
