"""Exact search of packed sign bits by Hamming distance; queries are float codes, of which the signs are compared."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nndefense.database.engines.base import Engine, Merged, Running
from nndefense.database.engines.grid import Cell
from nndefense.database.index import Index, build_index, search
from nndefense.database.merge import Neighbors


@dataclass(frozen=True, kw_only=True)
class Binary(Engine):
    """Every code compared, ties by the smaller id; distances are whole numbers, as float32."""

    exact = True
    allowed = (np.uint8,)

    @property
    def cell_type(self) -> type | None:
        """Bits stay bits."""
        return None

    def start(self, queries: np.ndarray, k: int) -> Running:
        return Merged(partial(_nearest, queries, k), len(queries), k)

    def load(self, cell: Cell) -> Any:
        # Zeroes in place of an unusable row would be a code like any other.
        return build_index(cell.codes[cell.usable]), cell.rows


def _nearest(queries: np.ndarray, k: int, part: tuple[Index, np.ndarray]) -> Neighbors:
    index, rows = part
    return search(index, queries, k, ids=rows)
