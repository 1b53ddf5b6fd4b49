"""Exact search of float codes by squared l2 distance."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import faiss
import numpy as np

from nndefense.core import devices
from nndefense.core.errors import ConfigError
from nndefense.database.engines.base import Engine, Merged, Running, check_dimensions
from nndefense.database.engines.grid import GRID, Cell
from nndefense.database.index import BLAS_THRESHOLD
from nndefense.database.merge import Neighbors

# Which products FAISS computes: from how many numbers on, and of how many queries and codes.
SETTINGS = {
    "distance_compute_blas_threshold": BLAS_THRESHOLD,
    "distance_compute_blas_query_bs": 4096,
    "distance_compute_blas_database_bs": GRID,
}


@dataclass(frozen=True, kw_only=True)
class Exact(Engine):
    """Every code compared, ties by the smaller id.

    Attributes:
        device: where products are computed, as torch names it.
        library: which one multiplies; None: FAISS on the CPU, torch elsewhere. Torch runs on the CPU, too. Each gives
            the same lists however a pool is cut; between the two, distances differ in their last bits.
    """

    device: str = "cpu"
    library: Literal["faiss", "torch"] | None = None

    exact = True

    def __post_init__(self) -> None:
        if self.library == "faiss" and self.device != "cpu":
            raise ConfigError(f"library 'faiss' computes on the CPU, not on {self.device!r}; allowed there: 'torch'")

    @property
    def on_torch(self) -> bool:
        """Whether torch multiplies."""
        return self.library == "torch" or (
            self.library is None and (self.device != "cpu" or devices.accelerated(self.device))
        )

    @property
    def cell_type(self) -> type | None:
        """Half precision crosses to a device as it is; FAISS takes single precision."""
        return None if self.on_torch else np.float32

    def start(self, queries: np.ndarray, k: int) -> Running:
        if self.on_torch:
            from nndefense.database.engines.halves import Candidates

            return Candidates(queries, k, self.device)
        valid = np.isfinite(queries).all(axis=1)
        return Merged(partial(_nearest, np.ascontiguousarray(queries[valid]), valid, k), len(queries), k)

    def load(self, cell: Cell) -> Any:
        if not self.on_torch:
            return cell
        from nndefense.database.engines.halves import upload

        return upload(cell, self.device)


def nearest_in(cell: Cell, queries: np.ndarray, k: int) -> Neighbors:
    """The k nearest of (Q, d) float32 queries within a cell, on the CPU: ids (Q, k') and distances, k' <= k or 2."""
    valid = np.isfinite(queries).all(axis=1)
    return _nearest(np.ascontiguousarray(queries[valid]), valid, k, cell)


def _nearest(queries: np.ndarray, valid: np.ndarray, k: int, cell: Cell) -> Neighbors:
    """Within a cell; queries: those that are valid."""
    check_dimensions(queries, cell.codes.shape[1])
    # A single nearest code is found by another kernel, which rounds otherwise. Of equal distances at the last place,
    # FAISS keeps those that it meets first, which have the smaller ids.
    places = max(2, min(k, len(cell.codes)))
    ids = np.full((len(valid), places), -1, dtype=np.int64)
    distances = np.full((len(valid), places), np.inf, dtype=np.float32)
    with _settings():
        lengths, found = faiss.knn(queries, cell.codes, places)
    ids[valid] = np.where(found < 0, -1, cell.start + found)
    distances[valid] = lengths
    return ids, distances


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    before = {name: getattr(faiss.cvar, name) for name in SETTINGS}
    try:
        for name, value in SETTINGS.items():
            setattr(faiss.cvar, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(faiss.cvar, name, value)
