"""Databases in memory whose building and searching is timed: what an index costs, and what it saves.

Times are CPU seconds of all threads of this process, which other work on the machine disturbs little. They do differ
from run to run; lists and sizes do not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nndefense.core.errors import InputError
from nndefense.database.engines import EXACT
from nndefense.database.engines.grid import cells
from nndefense.database.engines.held import Held
from nndefense.database.engines.trained import Trained, train
from nndefense.database.index import index_to_bytes
from nndefense.database.merge import Neighbors, merge_neighbors


@dataclass(frozen=True)
class Timed:
    """A database in memory.

    Attributes:
        parts: what is searched. rows: that have a code. size: bytes on disk, without the codes where it has forms of
            its own of them. train_seconds, add_seconds: of CPU, once.
    """

    parts: Sequence[Held]
    rows: int
    size: int
    train_seconds: float
    add_seconds: float

    def search(self, queries: np.ndarray, k: int, probes: int | None = None) -> Neighbors:
        """The k nearest of (Q, d) float32 queries; probes: lists of an inverted file that are visited."""
        return merge_neighbors([one.search(queries, k, probes) for one in self.parts], k)

    def search_timed(
        self, queries: np.ndarray, k: int, probes: int | None = None, repeats: int = 5
    ) -> tuple[Neighbors, np.ndarray]:
        """As `search`, and CPU seconds (repeats,) of as many further searches; the first one is not counted."""
        found = self.search(queries, k, probes)
        return found, np.array([timed(self.search, queries, k, probes)[1] for _ in range(repeats)])


def build_timed(
    factory: str, blocks: Sequence[np.ndarray], *, sample: int, first: int = 0, skipped: Sequence[np.ndarray] = ()
) -> Timed:
    """A database of all codes: exact, or an index that is trained and filled, as the shards' are.

    Args:
        factory: FAISS factory string; EXACT for the exact search.
        blocks: consecutive codes, (n, d) float16 or float32.
        sample: an index is trained on the codes of as many of the first rows.
        first: row of the pool that the first code stands for.
        skipped: rows of the pool without a usable code, ascending, in pieces.

    Raises:
        ConfigError: a factory string that FAISS refuses.
        InputError: no code to train on, or too few of them.
    """
    usable = _usable(sum(map(len, blocks)), first, skipped)
    rows = int(usable.sum())
    if factory == EXACT:
        parts, add_seconds = timed(_hold, blocks, first, skipped)
        return Timed(parts, rows, sum(block.nbytes for block in blocks), 0.0, add_seconds)
    trained, train_seconds = timed(train, _first_codes(blocks, usable[:sample]), factory)
    engine = Trained(trained=trained)
    index, add_seconds = timed(engine.build, blocks, first=first, skipped=skipped)
    part = Held(index, first + np.flatnonzero(usable), named=True)
    return Timed([part], rows, len(index_to_bytes(index)), train_seconds, add_seconds)


def timed(function: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """What a function returns, and the CPU seconds that it took."""
    start = time.process_time()
    found = function(*arguments, **options)
    return found, time.process_time() - start


def _hold(blocks: Sequence[np.ndarray], first: int, skipped: Sequence[np.ndarray]) -> list[Held]:
    """Codes in single precision on the grid; each part is a copy of its own."""
    ordered = cells(blocks, first=first, skipped=skipped, dtype=np.float32)
    return [Held(one.copy(), one.rows) for one in ordered]


def _first_codes(blocks: Sequence[np.ndarray], usable: np.ndarray) -> np.ndarray:
    """Codes of those of the first rows that have one; usable: (n,) bool, n <= number of codes."""
    found, start = [], 0
    for block in blocks:
        own = usable[start : start + len(block)]
        found.append(block[: len(own)][own])
        start += len(block)
    if not usable.any():
        raise InputError(f"none of the first {len(usable):,} rows has a code to train on")
    return np.concatenate(found).astype(np.float32, copy=False)


def _usable(count: int, first: int, skipped: Sequence[np.ndarray]) -> np.ndarray:
    """Which of `count` codes are usable, (count,) bool."""
    return ~np.isin(np.arange(first, first + count), np.concatenate([np.empty(0, np.int64), *skipped]))
