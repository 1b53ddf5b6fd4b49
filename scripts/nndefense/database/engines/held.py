"""Databases in memory, which are asked again and again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nndefense.database.engines.exact import nearest_in
from nndefense.database.engines.grid import Cell
from nndefense.database.engines.stored import Span
from nndefense.database.index import Index, build_index, search
from nndefense.database.merge import Neighbors


@dataclass(frozen=True)
class Held:
    """A part of a database.

    Attributes:
        codes: an index of them, or a part of the grid, which is searched as files are, to the last bit.
        rows: (n,) int64 ascending, the row of the pool that each stands for.
        named: whether the index answers by these rows itself, rather than by places in it.
    """

    codes: Index | Cell
    rows: np.ndarray
    named: bool = False

    def search(self, queries: np.ndarray, k: int, probes: int | None = None, ordered: bool = True) -> Neighbors:
        """The k nearest of (Q, d) float32 queries, as of `nndefense.database.index.search`."""
        if isinstance(self.codes, Cell):
            return nearest_in(self.codes, queries, k)
        return search(self.codes, queries, k, nprobe=probes, ids=None if self.named else self.rows, ordered=ordered)


def hold(codes: Sequence[Span], indexes: Sequence[Span] = ()) -> Iterator[Held]:
    """Spans in memory, part by part.

    Args:
        codes: the database. indexes: those of its shards, which are searched instead, in the same order; or none.
    """
    if not indexes:
        for span in codes:
            yield from _hold_bits(span) if span.bits else (Held(one, one.rows) for one in span.cells())
    for span in indexes:
        for (_, index), (start, stop, unusable) in zip(span.indexes(), span.shards, strict=True):
            yield Held(index, np.setdiff1d(np.arange(start, stop), unusable, assume_unique=True), named=True)


def _hold_bits(span: Span) -> Iterable[Held]:
    bits = np.concatenate(list(span.blocks()))
    unusable = np.concatenate(list(span.skipped()))
    rows = np.setdiff1d(np.arange(span.start, span.stop), unusable, assume_unique=True)
    return [Held(build_index(bits[rows - span.start]), rows)]
