"""Locality-sensitive hashing by 2-stable distributions (Datar et al. 2004), re-ranked by exact distances.

A hash is floor((a . v + b) / width) with a ~ N(0, I) and b ~ U[0, width); `hashes` of them side by side name a bucket,
and a query's candidates are the rows that share its bucket in one of the `tables`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nndefense.core.errors import ConfigError, InputError

# Bytes of marks (a query, a row) and (query, candidate) pairs whose distances are computed at once.
MARKS = 1 << 24
PAIRS = 1 << 18


@dataclass(frozen=True)
class Found:
    """Neighbours of Q queries, nearest first.

    ids (Q, N) int64, distances (Q, N) float32 (Euclidean, not squared), candidates (Q,) int64: rows that shared a
    bucket with the query; exhaustive (Q,) bool: too few did, and all rows were searched.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    candidates: NDArray[np.int64]
    exhaustive: NDArray[np.bool_]


class PStableLSH:
    """Tables of hashed rows. Equal rows, options and seed give equal answers; ties go to the smaller id.

    keys: (n, d) float32, finite. width: w > 0, in units of distance. hashes: k per table. tables: T.
    Raises ConfigError for options out of range, InputError for unusable keys.
    """

    def __init__(
        self, keys: NDArray[np.float32], *, width: float, hashes: int = 8, tables: int = 24, seed: int = 0
    ) -> None:
        if not (math.isfinite(width) and width > 0) or hashes < 1 or tables < 1:
            raise ConfigError(f"width {width}, hashes {hashes}, tables {tables}: above 0, at least 1, at least 1")
        self.keys = _vectors(keys, "keys")
        generator = np.random.default_rng(seed)
        self._directions = generator.standard_normal((keys.shape[1], tables * hashes)).astype(np.float32)
        self._offsets = generator.uniform(0, width, tables * hashes)
        # Odd multipliers mix the hashes of a table into one number. Two buckets that it confuses cost distances only.
        self._mixers = generator.integers(0, 1 << 63, hashes, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self.width = width
        self._shape = (tables, hashes)
        buckets = self.buckets(self.keys)
        self._rows = np.argsort(buckets, axis=1, kind="stable")
        self._sorted = np.take_along_axis(buckets, self._rows, axis=1)

    def search(self, queries: NDArray[np.float32], count: int) -> Found:
        """The `count` nearest candidates of each query (Q, d) float32, by exact distance.

        Where fewer rows share a bucket with a query, all rows are searched for it, so its answer is exact.
        Raises InputError for queries of another dimension or not finite, and for more neighbours than rows.
        """
        queries = _vectors(queries, "queries")
        if queries.shape[1] != self.keys.shape[1]:
            raise InputError(f"queries have {queries.shape[1]} dimensions, the keys have {self.keys.shape[1]}")
        if not 1 <= count <= len(self.keys):
            raise InputError(f"{count} neighbours of {len(self.keys)} rows: allowed are 1 to {len(self.keys)}")
        found = Found(
            np.empty((len(queries), count), np.int64),
            np.empty((len(queries), count), np.float32),
            np.empty(len(queries), np.int64),
            np.empty(len(queries), bool),
        )
        size = max(1, MARKS // len(self.keys))
        for start in range(0, len(queries), size):
            part = slice(start, start + size)
            self._search(queries[part], count, found, part)
        return found

    def buckets(self, vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
        """The bucket of each vector (n, d) float32 in each table, (tables, n) uint64."""
        values = (vectors @ self._directions + self._offsets) / self.width
        hashes = np.floor(values).astype(np.int64).view(np.uint64).reshape(len(vectors), *self._shape)
        return np.ascontiguousarray((hashes * self._mixers).sum(axis=2, dtype=np.uint64).T)

    def _candidates(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], ...]:
        """Pairs (query, row), each (pairs,) int64, that share a bucket in some table; sorted and each once."""
        shared = np.zeros((len(queries), len(self.keys)), bool)
        for bucket, rows, known in zip(self.buckets(queries), self._rows, self._sorted, strict=True):
            first = np.searchsorted(known, bucket, side="left")
            sizes = np.searchsorted(known, bucket, side="right") - first
            # Places first, first + 1, ... of each query's bucket, one after the other.
            places = np.arange(sizes.sum()) + np.repeat(first - np.cumsum(sizes) + sizes, sizes)
            shared[np.repeat(np.arange(len(queries)), sizes), rows[places]] = True
        return shared.nonzero()

    def _search(self, queries: NDArray, count: int, found: Found, part: slice) -> None:
        owners, rows = self._candidates(queries)
        sizes = np.bincount(owners, minlength=len(queries))
        found.candidates[part] = sizes
        found.exhaustive[part] = sizes < count
        enough = sizes >= count
        keep = enough[owners]
        owners, rows = owners[keep], rows[keep]
        squared = self._squared(queries, owners, rows)
        order = np.lexsort((rows, squared, owners))
        starts = np.cumsum(sizes * enough) - sizes * enough
        places = order[starts[enough, None] + np.arange(count)]
        found.ids[part][enough] = rows[places]
        found.distances[part][enough] = np.sqrt(squared[places])
        for query in np.flatnonzero(~enough):
            everything = np.arange(len(self.keys))
            squared = self._squared(queries, np.full(len(self.keys), query), everything)
            nearest = np.lexsort((everything, squared))[:count]
            found.ids[part][query] = nearest
            found.distances[part][query] = np.sqrt(squared[nearest])

    def _squared(self, queries: NDArray, owners: NDArray, rows: NDArray) -> NDArray[np.float32]:
        squared = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), PAIRS):
            part = slice(start, start + PAIRS)
            # Differences, not inner products, whose rounding would hide small distances.
            difference = queries[owners[part]] - self.keys[rows[part]]
            squared[part] = np.einsum("nd,nd->n", difference, difference)
        return squared


def collision_probability(distance: NDArray | float, width: float) -> NDArray[np.float64]:
    """Probability that one hash of this width agrees for two vectors at this distance (Datar et al. 2004, §3.2).

    1 - 2 Phi(-w/c) - 2 / (sqrt(2 pi) w/c) (1 - exp(-(w/c)^2 / 2)); 1 at distance 0. Same shape as `distance`.
    """
    from scipy.special import ndtr

    distance = np.asarray(distance, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = width / distance
        value = 1 - 2 * ndtr(-ratio) - 2 / (math.sqrt(2 * math.pi) * ratio) * -np.expm1(-(ratio**2) / 2)
    return np.where(distance == 0, 1.0, value)


def default_width(keys: NDArray[np.float32], *, factor: float = 4.0, sample: int = 300, seed: int = 0) -> float:
    """`factor` times the median distance to the nearest other row, of a random sample of the keys (n, d) float32.

    Rows that occur twice are left out of the median; 1 where nothing else is left. Raises InputError as `PStableLSH`.
    """
    keys = _vectors(keys, "keys")
    chosen = np.random.default_rng(seed).permutation(len(keys))[:sample]
    nearest = []
    for row in chosen:
        difference = keys - keys[row]
        squared = np.einsum("nd,nd->n", difference, difference)
        others = squared[squared > 0]
        if len(others):
            nearest.append(math.sqrt(others.min()))
    return factor * float(np.median(nearest)) if nearest else 1.0


def _vectors(array: NDArray, what: str) -> NDArray[np.float32]:
    if array.ndim != 2 or array.dtype != np.float32 or not np.isfinite(array).all():
        raise InputError(f"{what} must be finite (n, d) float32, got {array.shape} {array.dtype}")
    return np.ascontiguousarray(array)
