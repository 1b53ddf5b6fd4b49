"""Search of the cells of a coarse quantiser: trained once, after which every shard fills a clone of the empty index."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import faiss
import numpy as np

from nndefense.core.errors import ConfigError, InputError
from nndefense.database.engines.base import Engine, Merged, Running
from nndefense.database.engines.grid import GRID, Cell, cells
from nndefense.database.index import index_from_bytes, index_to_bytes, search
from nndefense.database.merge import Neighbors


def train(sample: np.ndarray, factory: str) -> bytes:
    """A trained index without codes, as bytes (`index_to_bytes`).

    Args:
        sample: (n, d) float16 or float32 codes; FAISS asks for 39 a list, and uses at most 256.
        factory: FAISS factory string of an inverted file, e.g. "IVF1024,Flat", "IVF1024,SQ8", "IVF1024,PQ32np".

    Raises:
        ConfigError: a factory string that FAISS refuses, or that is no inverted file.
        InputError: a sample that is not finite, or too small.
    """
    if sample.ndim != 2 or not np.isfinite(sample).all():
        raise InputError(f"the sample must be (n, d) finite codes, got {sample.shape} {sample.dtype}")
    try:
        index = faiss.index_factory(sample.shape[1], factory, faiss.METRIC_L2)
    except RuntimeError as error:
        raise ConfigError(f"index factory {factory!r} is not understood by FAISS for d={sample.shape[1]}") from error
    _check_inverted(index, factory)
    try:
        index.train(np.ascontiguousarray(sample, dtype=np.float32))
    except RuntimeError as error:
        raise InputError(f"index {factory!r} cannot be trained on {len(sample)} codes") from error
    return index_to_bytes(index)


@dataclass(frozen=True, kw_only=True)
class InvertedFile(Engine):
    """Looks at the `probes` lists nearest to a query.

    Shards, however they are cut, hold together what one index holds, list by list and code by code; merged, their
    lists are those of that index. Among equal distances at the k-th place, the one that is met first is kept: of one
    list the smaller id, of several lists the one in the nearer of them.

    Attributes:
        trained: as `train` returns it.
        probes: lists visited, >= 1.
    """

    trained: bytes
    probes: int

    exact = False

    def build(
        self, blocks: Iterable[np.ndarray], *, first: int = 0, skipped: Iterable[np.ndarray] = ()
    ) -> faiss.IndexIVF:
        """The index of a shard, whose ids are rows of the pool; arguments as of `search_blocks`."""
        index = self._clone()
        for cell in cells(self._checked(blocks), first=first, skipped=skipped, dtype=self.cell_type):
            _add(index, cell)
        return index

    def search_shards(self, shards: Iterable[faiss.IndexIVF], queries: Sequence[np.ndarray], k: int) -> list[Neighbors]:
        """As `search_blocks` at the end of its blocks, from the indexes of shards, one at a time, in any order."""
        lists = [self._start(one, k) for one in queries]
        for shard in shards:
            for one in lists:
                one.take(shard)
        return [one.neighbors() for one in lists]

    def start(self, queries: np.ndarray, k: int) -> Running:
        return Merged(partial(search, queries=queries, k=k, nprobe=self.probes), len(queries), k)

    def load(self, cell: Cell) -> Any:
        index = self._clone()
        _add(index, cell)
        return index

    def _clone(self) -> faiss.IndexIVF:
        return faiss.clone_index(self._empty)

    @cached_property
    def _empty(self) -> faiss.IndexIVF:
        index = index_from_bytes(self.trained, rows=0)
        _check_inverted(index, type(index).__name__)
        return index


def _add(index: faiss.IndexIVF, cell: Cell) -> None:
    """Add the usable codes of a cell; each is assigned together with its grid line, so that cuts change no list."""
    dimensions = cell.codes.shape[1]
    if dimensions != index.d:
        raise InputError(f"codes have {dimensions} dimensions, the index has {index.d}")
    for low in range(0, len(cell.codes), GRID):
        codes, usable = cell.codes[low : low + GRID], cell.usable[low : low + GRID]
        _, lists = index.quantizer.search(codes, 1)
        codes, lists = np.ascontiguousarray(codes[usable]), np.ascontiguousarray(lists[usable, 0])
        rows = cell.start + low + np.flatnonzero(usable)
        index.add_core(len(rows), *map(faiss.swig_ptr, (codes, rows, lists)))


def _check_inverted(index: faiss.Index, name: str) -> None:
    if not isinstance(index, faiss.IndexIVF):
        raise ConfigError(f"index {name!r} is no inverted file; allowed: e.g. 'IVF1024,Flat' or 'IVF1024,PQ32np'")
