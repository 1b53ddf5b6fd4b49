"""A seeded permutation of any number of rows as a function: no table, so its memory does not grow with the rows.

A Feistel network on the bits of a place, whose two halves differ by at most one bit, is a bijection of a power of two
below twice the number of rows; what falls outside goes through it again until it is inside (cycle walking, Black and
Rogaway 2002, "Ciphers with Arbitrary Finite Domains"), which leaves a bijection of the rows.
"""

from collections.abc import Iterable

import numpy as np

from nndefense.core.errors import InputError
from nndefense.core.seeds import derive_seed

ROUNDS = 8
MAX_ROWS = 1 << 62


class Permutation:
    """A permutation of 0 .. rows - 1; every prefix is as good as a random sample of the rows.

    Of very few rows (5, say) some orders are a little likelier than others.

    Raises:
        InputError: rows out of 1 .. 2^62.
    """

    def __init__(self, rows: int, seed: int) -> None:
        """rows: how many. seed: any integer; another one gives another order."""
        if not 1 <= rows <= MAX_ROWS:
            raise InputError(f"a permutation needs rows in 1 .. {MAX_ROWS}, got {rows}")
        self.rows = rows
        bits = (rows - 1).bit_length()
        self.low = np.uint64(bits // 2)
        self.masks = np.uint64((1 << (bits - bits // 2)) - 1), np.uint64((1 << (bits // 2)) - 1)
        self.keys = [np.uint64(derive_seed(seed, "permutation", number)) for number in range(ROUNDS)]

    def rows_at(self, places: np.ndarray) -> np.ndarray:
        """Rows (n,) int64 that stand at places (n,), each in 0 .. rows - 1."""
        return self._walk(places, list(enumerate(self.keys)))

    def places_of(self, rows: np.ndarray) -> np.ndarray:
        """Places (n,) int64 where rows (n,) stand, each in 0 .. rows - 1: the inverse of `rows_at`."""
        return self._walk(rows, list(enumerate(self.keys))[::-1])

    def _walk(self, values: np.ndarray, rounds: Iterable[tuple[int, np.uint64]]) -> np.ndarray:
        values = np.asarray(values)
        if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() < self.rows):
            raise InputError(f"places and rows must be integers in 0 .. {self.rows - 1}")
        found = self._network(values.astype(np.uint64), rounds)
        while (outside := np.flatnonzero(found >= self.rows)).size:
            found[outside] = self._network(found[outside], rounds)
        return found.astype(np.int64)

    def _network(self, values: np.ndarray, rounds: Iterable[tuple[int, np.uint64]]) -> np.ndarray:
        """One pass; of each round, one half is changed by the other, so that the rounds backwards undo it."""
        halves = [values >> self.low, values & self.masks[1]]
        for number, key in rounds:
            side = number % 2
            halves[side] ^= _mixed(halves[1 - side] ^ key) & self.masks[side]
        return (halves[0] << self.low) | halves[1]


def _mixed(values: np.ndarray) -> np.ndarray:
    """Values (n,) uint64, each bit of which depends on all bits of the given ones (the end of SplitMix64, Vigna)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
