"""What a search engine is: one pass over blocks of codes that keeps the nearest of every query of several sets."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from nndefense.core.errors import InputError
from nndefense.database.engines.grid import Cell, cells
from nndefense.database.merge import Neighbors, merge_neighbors


class Running(Protocol):
    """The nearest that one query set has met so far."""

    def take(self, part: Any) -> None:
        """Look at one more part of the database, as `Engine.load` makes it; parts come in the order of their rows."""

    def neighbors(self) -> Neighbors:
        """As `merge_neighbors` returns them. Later parts do not change what was returned."""


class Engine(ABC):
    """A search engine; its options are its fields.

    Attributes:
        exact: whether every code is compared.
        allowed: types of codes.
    """

    exact: ClassVar[bool]
    allowed: ClassVar[tuple[type, ...]] = (np.float16, np.float32)

    @property
    def cell_type(self) -> type | None:
        """In which cells hold the codes; None: as they come."""
        return np.float32

    @abstractmethod
    def start(self, queries: np.ndarray, k: int) -> Running:
        """An empty list for one query set, (Q, d) float32; queries that are not finite find nothing."""

    @abstractmethod
    def load(self, cell: Cell) -> Any:
        """What a `Running` takes, made once for all query sets."""

    def search_blocks(
        self,
        blocks: Iterable[np.ndarray],
        queries: Sequence[np.ndarray],
        k: int,
        *,
        first: int = 0,
        skipped: Iterable[np.ndarray] = (),
        stops: Sequence[int] = (),
    ) -> dict[int, list[Neighbors]]:
        """The k nearest of every query, by distance and then by id, in one pass over the codes.

        An answer depends on its own query set, the codes and their rows: not on how rows are cut into blocks, on
        `first`, on `stops`, or on which other sets are asked (but on the number of threads, see the package). Held are
        one cell, one block, and a list for every set and stop.

        Args:
            blocks: consecutive codes, (n, d) of any n; run to the end, so that their files are verified before
                anything is returned.
            queries: query sets, each (Q, d) float32.
            k: places of the lists, >= 1.
            first: row of the pool that the first code stands for; ids are rows of the pool.
            skipped: rows of the pool without a usable code, ascending, in pieces.
            stops: rows of the pool behind which the lists are wanted, above `first`.

        Returns:
            For every stop, and for the end of the blocks, ids (Q, k) int64 and distances (Q, k) float32 of each query
            set, over the codes up to there. Missing places come last, with id -1 and distance inf.

        Raises:
            InputError: an argument that does not fit.
        """
        lists, found, end = [self._start(one, k) for one in queries], {}, first
        if stops and min(stops) <= first:
            raise InputError(f"stop {min(stops)} is not behind the first row, {first}")
        ordered = cells(self._checked(blocks), first=first, skipped=skipped, stops=stops, dtype=self.cell_type)
        for cell in ordered:
            part, end = self.load(cell), cell.stop
            for one in lists:
                one.take(part)
            if end in stops:
                found[end] = [one.neighbors() for one in lists]
        if stops and max(stops) > end:
            raise InputError(f"stop {max(stops)} lies behind the last row, {end}")
        return found if end in found else found | {end: [one.neighbors() for one in lists]}

    def _start(self, queries: np.ndarray, k: int) -> Running:
        if queries.ndim != 2 or queries.dtype != np.float32:
            raise InputError(f"queries must be (Q, d) float32, got {queries.shape} {queries.dtype}")
        if k < 1:
            raise InputError(f"k is {k}; allowed: an integer >= 1")
        return self.start(queries, k)

    def _checked(self, blocks: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
        for block in blocks:
            if block.dtype not in self.allowed:
                names = " or ".join(np.dtype(one).name for one in self.allowed)
                raise InputError(f"codes are {block.dtype}; this engine takes {names}")
            yield block


class Merged:
    """A `Running` of lists in memory."""

    def __init__(self, find: Callable[[Any], Neighbors], queries: int, k: int) -> None:
        """`find`: the k nearest (or fewer, where the part has fewer) within a part; `queries`: their number."""
        self.find, self.k = find, k
        self.ids = np.full((queries, k), -1, dtype=np.int64)
        self.distances = np.full((queries, k), np.inf, dtype=np.float32)

    def take(self, part: Any) -> None:
        self.ids, self.distances = merge_neighbors([self.neighbors(), self.find(part)], self.k)

    def neighbors(self) -> Neighbors:
        return self.ids, self.distances


def check_dimensions(queries: Any, dimensions: int) -> None:
    """Raises InputError where queries have other dimensions than the codes."""
    if queries.shape[1] != dimensions:
        raise InputError(f"queries have {queries.shape[1]} dimensions, the codes have {dimensions}")
