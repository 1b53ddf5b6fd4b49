"""Random numbers that depend on (seed, row, name) alone, so a row looks the same in any batch."""

import zlib

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(bits: np.ndarray) -> np.ndarray:
    """SplitMix64's output function (Steele, Lea, Flood 2014), elementwise on uint64; wraps modulo 2^64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class Draws:
    """Named random numbers of n rows; the same name gives the same numbers again.

    Args:
        keys: uint64 (n,), one a row; `Draws.of_rows` makes them.
    """

    def __init__(self, keys: np.ndarray):
        self.keys = keys

    @classmethod
    def of_rows(cls, seed: int, rows: np.ndarray) -> "Draws":
        """Draws of int64 `rows` (n,) under a non-negative `seed`."""
        start = _mix(np.array([seed], dtype=np.uint64) + _STEP)
        return cls(_mix(start + rows.astype(np.uint64) * _STEP))

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: np.ndarray) -> "Draws":
        """The draws of some of the rows."""
        return Draws(self.keys[index])

    def _bits(self, name: str) -> np.ndarray:
        salt = np.array([zlib.crc32(name.encode())], dtype=np.uint64)
        return _mix(self.keys + salt * _STEP)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """float32 (n,) in [low, high)."""
        unit = (self._bits(name) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return np.float32(low) + unit * np.float32(high - low)

    def vary(self, name: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """`uniform`, shaped (n, 1, 1) to broadcast over pixels."""
        return self.uniform(name, low, high)[:, None, None]

    def chance(self, name: str, probability: float) -> np.ndarray:
        """bool (n,), true with `probability`."""
        return self.uniform(name) < probability

    def integer(self, name: str, bound: int) -> np.ndarray:
        """int64 (n,) in 0 .. bound - 1."""
        return ((self._bits(name) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def grain(self, name: str, count: int) -> np.ndarray:
        """float32 (n, count), triangular noise with mean 0 and standard deviation 1."""
        words = -(-count // 2)
        steps = np.arange(1, words + 1, dtype=np.uint64) * _STEP
        bits = _mix(self._bits(name)[:, None] + steps).view(np.uint16).reshape(len(self), 2, -1)
        total = bits[:, 0, :count].astype(np.float32) + bits[:, 1, :count]
        return (total * np.float32(2.0**-16) - np.float32(1.0)) * np.float32(6.0**0.5)
