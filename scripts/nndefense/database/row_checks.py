"""A checksum of each row, so that a store is verified where it is read, and only there.

The bytes of a row are 32-bit words w_1, w_2, ..., the last one padded with zeros. Its checksum is the sum of m_i w_i
modulo 2^64 with fixed odd m_i (multilinear hashing: Lemire & Kaser, Strongly universal string hashing is fast, The
Computer Journal 57, 2014), plus odd multiples of the row's number in its pool and of its type and length.

Another value of one word is always noticed, as odd numbers have inverses modulo 2^64: so every single bit, and every
single number of up to 32 bits. So are two unequal numbers in each other's place, up to 64 KB a row, where no two m_i
are equal modulo 2^33; and the same row at another number. Any other damage is missed with a probability of at most
2^-32, usually of about 2^-64. This is no cryptographic digest: it notices damage, not forgery.
"""

import zlib
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from nndefense.core.errors import InputError
from nndefense.core.seals import fault

# Stored checksums depend on these; Philox streams are the same in every version of NumPy.
KEY = 0x6E6E646566656E73
NUMBER, KIND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9

WORD = 8
# A block and what is computed of it fit a core's cache.
BLOCK_BYTES = 1 << 18


class Rows(Protocol):
    """Rows by their places: an array, a memory map, or what reads a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, places: np.ndarray) -> np.ndarray: ...


def row_checks(rows: np.ndarray, first: int) -> np.ndarray:
    """One checksum per row, (n,) uint64.

    Args:
        rows: (n, C) of any type of a fixed size, C >= 1.
        first: number in its pool of the row that rows[0] is, >= 0.

    Raises:
        InputError: rows of another shape or type.
    """
    return checks_at(rows, first + np.arange(len(rows)))


def checks_at(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Checksums, (n,) uint64, of rows that do not follow each other.

    Args:
        rows: as of `row_checks`.
        numbers: (n,) of these rows in their pool, >= 0.

    Raises:
        InputError: as of `row_checks`.
    """
    if rows.ndim != 2 or rows.dtype.hasobject or not rows.dtype.itemsize * rows.shape[1]:
        raise InputError(f"rows have shape {rows.shape} and type {rows.dtype}; allowed: (n, C >= 1) of a fixed size")
    width = rows.dtype.itemsize * rows.shape[1]
    low, high = _multipliers(-(-width // WORD))
    checks = np.empty(len(rows), dtype=np.uint64)
    block = max(1, BLOCK_BYTES // width)
    for start in range(0, len(rows), block):
        words = _words(rows[start : start + block])
        part = checks[start : start + block]
        np.einsum("nw,w->n", words, low, out=part)
        part += np.einsum("nw,w->n", words >> np.uint64(32), high)
    kind = zlib.crc32(f"{rows.dtype.str} {width}".encode())
    checks += np.asarray(numbers).astype(np.uint64) * np.uint64(NUMBER)
    # An array, because a single number would warn where it wraps around.
    checks += np.full(1, kind, dtype=np.uint64) * np.uint64(KIND)
    return checks


@lru_cache(maxsize=16)
def _multipliers(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """What a word of 64 bits, and what its upper half alone, are multiplied by; (pairs,) each.

    A word is l + 2^32 h. With a for all of it and b for h, l counts a times and h 2^32 a + b times, which is odd, too.
    """
    odd = np.random.Philox(key=KEY).random_raw(2 * pairs) | np.uint64(1)
    return odd[::2].copy(), odd[1::2].copy()


def _words(rows: np.ndarray) -> np.ndarray:
    """Bytes of rows (n, C) as words of 64 bits, (n, words), padded with zeros."""
    content = np.ascontiguousarray(rows).view(np.uint8)
    if content.shape[1] % WORD:
        padded = np.zeros((len(content), -(-content.shape[1] // WORD) * WORD), dtype=np.uint8)
        padded[:, : content.shape[1]] = content
        content = padded
    return content.view("<u8")


class CheckedRows:
    """Rows that are compared with their checksums whenever they are read.

    Args:
        rows: (n, C).
        checks: (n,) uint64, as `row_checks` gives them.
        first: number in its pool of the first row.
        path: of the rows, for messages.

    Raises:
        FileFault: checksums that do not fit the rows. Reading a row that differs from its checksum does so, too.
    """

    def __init__(self, rows: Rows, checks: Rows, first: int, path: str | Path) -> None:
        if checks.shape != rows.shape[:1] or checks.dtype != np.uint64:
            raise fault(path, f"has rows {rows.shape}, but checksums {checks.shape} of type {checks.dtype}")
        self.rows, self.checks, self.first, self.path = rows, checks, first, path
        self.shape, self.dtype = rows.shape, rows.dtype

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """Rows (n, C) at places (n,)."""
        found = self.rows[places]
        wrong = np.flatnonzero(checks_at(found, self.first + places) != self.checks[places])
        if wrong.size:
            raise fault(self.path, f"row {int(places[wrong[0]])} is damaged")
        return found
