"""Databases on disk, searched by the engine that their files call for: codes, or indexes of shards."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.arrays import read_array, read_sealed
from nndefense.core.blocks import read_blocks
from nndefense.core.errors import FileFault
from nndefense.core.seals import fault, read_seal
from nndefense.database.engines.base import Engine
from nndefense.database.engines.binary import Binary
from nndefense.database.engines.exact import Exact
from nndefense.database.engines.grid import CELL, Cell, cells
from nndefense.database.engines.trained import search_indexes
from nndefense.database.index import check_made_with, index_from_bytes
from nndefense.database.merge import Neighbors

SHARED = ("model", "layer", "pool")
BELONGS = (*SHARED, "pca")


class Span:
    """Consecutive shards on disk.

    Attributes:
        start, stop: rows of the pool. about: facts that the shards share: model, layer, pool and pca.
    """

    def __init__(self, shards: Sequence[str | Path], skipped: Sequence[str | Path], **expected: Any) -> None:
        """Look at the shards' seals, and read which rows have no code.

        Args:
            shards: codes (.npy), or indexes (.faiss), in their order. skipped: rows without a code of each, .npy.
            expected: facts that they must have.

        Raises:
            FileFault: shards that are not of one kind, or do not follow each other; files of another database.
        """
        self.paths, self.about = list(shards), dict(expected)
        self.shards: list[tuple[int, int, np.ndarray]] = []
        self.stop = 0
        for path, rows in zip(shards, skipped, strict=True):
            about, (unusable, facts) = read_seal(path)["about"], read_array(rows)
            check_made_with(path, about, self.about)
            check_made_with(rows, facts, {name: about.get(name) for name in (*SHARED, "start", "stop")})
            if self.shards and about["start"] != self.stop:
                raise FileFault(f"{path}: rows from {about['start']:,} do not follow those up to {self.stop:,}")
            self.about, self.stop = {name: about.get(name) for name in BELONGS}, about["stop"]
            self.shards.append((about["start"], about["stop"], unusable))
        self.start = self.shards[0][0]

    @property
    def rows(self) -> int:
        """Rows that have a code."""
        return self.stop - self.start - sum(len(unusable) for *_, unusable in self.shards)

    @property
    def indexed(self) -> bool:
        """Whether the shards have indexes."""
        return Path(self.paths[0]).suffix != ".npy"

    @property
    def bits(self) -> bool:
        """Whether codes are packed bits."""
        try:
            return np.load(self.paths[0], mmap_mode="r", allow_pickle=False).dtype == np.uint8
        except ValueError as error:
            raise fault(self.paths[0], f"is not a plain array ({error})") from error

    def skipped(self) -> Iterator[np.ndarray]:
        """Rows of the pool without a code, shard by shard."""
        return (unusable for *_, unusable in self.shards)

    def blocks(self) -> Iterator[np.ndarray]:
        """Codes, verified as they are read (`nndefense.core.blocks`)."""
        for path in self.paths:
            yield from read_blocks(path, CELL)

    def indexes(self) -> Iterator[tuple[int, Any]]:
        """Indexes, verified, one at a time, and the row of the pool behind each."""
        for path, (_, stop, _) in zip(self.paths, self.shards, strict=True):
            content, about = read_sealed(path)
            yield stop, index_from_bytes(content, dimension=about["dimension"], rows=about["rows"])

    def cells(self) -> Iterator[Cell]:
        """Codes in single precision on the grid, as the exact engine searches them; each is a copy of its own."""
        ordered = cells(self.blocks(), first=self.start, skipped=self.skipped(), dtype=np.float32)
        return (one.copy() for one in ordered)


def search_span(
    span: Span, queries: Sequence[np.ndarray], k: int, stops: Sequence[int], probes: int = 1, device: str = "cpu"
) -> dict[int, list[Neighbors]]:
    """The k nearest of every query among a span's rows up to each stop, as of `Engine.search_blocks`.

    Args:
        span: the database.
        queries: query sets, each (Q, d) float32.
        k: places of the lists.
        stops: rows of the pool; of indexes, where shards end.
        probes: lists that an inverted file visits.
        device: where codes are compared, as torch names it; bits always are on the CPU. On another one distances
            differ in their last bits, and with them the order of neighbours that are as near.
    """
    if span.indexed:
        return search_indexes(span.indexes(), queries, k, stops, probes, device)
    engine: Engine = Binary() if span.bits else Exact(device=device)
    return engine.search_blocks(span.blocks(), queries, k, first=span.start, skipped=span.skipped(), stops=stops)
