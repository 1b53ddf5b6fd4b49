"""Approximate search: trained once, after which every shard fills a clone of the empty index.

Of an inverted file, shards hold together what one index holds, however they are cut: list by list and code by code. Of
codes that are stored one by one (`SQ8`, `PQ32np`), too. Where codes are turned first (`OPQ…`, `PCA…`), distances differ
in their last bits. What depends on the order or number of its codes (`HNSW32`) is as many indexes as there are shards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import faiss
import numpy as np

from nndefense.core.errors import InputError
from nndefense.database.engines.base import Engine, Merged, Running
from nndefense.database.engines.grid import GRID, Cell, cells
from nndefense.database.engines.on_gpu import on_device
from nndefense.database.index import index_from_bytes, index_to_bytes, search, train_index
from nndefense.database.merge import Neighbors


def train(sample: np.ndarray, factory: str) -> bytes:
    """A trained index without codes, as bytes (`index_to_bytes`).

    Args:
        sample: (n, d) float16 or float32 codes; FAISS asks for 39 for each list of an inverted file, and uses at most
            256.
        factory: FAISS factory string, e.g. "IVF1024,Flat", "IVF1024,PQ32np", "SQ8".

    Raises:
        ConfigError: a factory string that FAISS refuses.
        InputError: a sample that is not finite, or too small.
    """
    if sample.ndim != 2 or not np.isfinite(sample).all():
        raise InputError(f"the sample must be (n, d) finite codes, got {sample.shape} {sample.dtype}")
    return index_to_bytes(train_index(sample.astype(np.float32, copy=False), factory))


@dataclass(frozen=True, kw_only=True)
class Trained(Engine):
    """Looks at a part of the codes, or at short forms of them.

    Among equal distances at the k-th place, the one that is met first is kept: within a list of an inverted file the
    smaller id, of several lists the one in the list nearer to the query.

    Attributes:
        trained: as `train` returns it.
        probes: lists of an inverted file that are visited, >= 1.
    """

    trained: bytes
    probes: int = 1

    exact = False

    def build(self, blocks: Iterable[np.ndarray], *, first: int = 0, skipped: Iterable[np.ndarray] = ()) -> faiss.Index:
        """The index of a shard, whose ids are rows of the pool; arguments as of `search_blocks`."""
        index = self._clone()
        for cell in cells(self._checked(blocks), first=first, skipped=skipped, dtype=self.cell_type):
            _add(index, cell)
        return index

    def start(self, queries: np.ndarray, k: int) -> Running:
        return Merged(partial(_nearest, queries, k, self.probes), len(queries), k)

    def load(self, cell: Cell) -> Any:
        index = self._clone()
        _add(index, cell)
        return index

    def _clone(self) -> faiss.Index:
        index = faiss.clone_index(self._empty)
        return index if isinstance(index, faiss.IndexIVF) else faiss.IndexIDMap2(index)

    @cached_property
    def _empty(self) -> faiss.Index:
        index = index_from_bytes(self.trained, rows=0)
        assert isinstance(index, faiss.Index)
        return index


def search_indexes(
    shards: Iterable[tuple[int, faiss.Index]],
    queries: Sequence[np.ndarray],
    k: int,
    stops: Sequence[int],
    probes: int = 1,
    device: str = "cpu",
) -> dict[int, list[Neighbors]]:
    """As `Engine.search_blocks`, from the indexes of shards, one at a time.

    Args:
        shards: row of the pool behind each, and its index, in their order.
        queries: query sets, each (Q, d) float32.
        k: places of the lists.
        stops: rows of the pool behind which the lists are wanted, where shards end.
        probes: lists of an inverted file that are visited.
        device: where, as torch names it; a GPU takes those that FAISS has a form of there (`on_device`), whose
            distances differ in their last bits.

    Raises:
        InputError: a stop where no shard ends.
    """
    lists = [Merged(partial(_nearest, one, k, probes), len(one), k) for one in queries]
    found = {}
    for stop, index in shards:
        shard = on_device(index, k, probes, device) or index
        for one in lists:
            one.take(shard)
        if stop in stops:
            found[stop] = [one.neighbors() for one in lists]
    if missing := sorted(set(stops) - set(found)):
        raise InputError(f"no shard ends at row {missing[0]:,}")
    return found


def _nearest(queries: np.ndarray, k: int, probes: int, index: faiss.Index) -> Neighbors:
    # One on a GPU was told before, and is no inverted file to FAISS.
    return search(index, queries, k, nprobe=probes if faiss.try_extract_index_ivf(index) else None)


def _add(index: faiss.Index, cell: Cell) -> None:
    """Add the usable codes of a cell; each is assigned together with its grid line, so that cuts change no list."""
    dimensions = cell.codes.shape[1]
    if dimensions != index.d:
        raise InputError(f"codes have {dimensions} dimensions, the index has {index.d}")
    if not isinstance(index, faiss.IndexIVF):
        index.add_with_ids(np.ascontiguousarray(cell.codes[cell.usable]), cell.rows)
        return
    for low in range(0, len(cell.codes), GRID):
        codes, usable = cell.codes[low : low + GRID], cell.usable[low : low + GRID]
        _, lists = index.quantizer.search(codes, 1)
        codes, lists = np.ascontiguousarray(codes[usable]), np.ascontiguousarray(lists[usable, 0])
        rows = cell.start + low + np.flatnonzero(usable)
        index.add_core(len(rows), *map(faiss.swig_ptr, (codes, rows, lists)))
