"""What answers rest on, where it gives cause for doubt: attacks that did nothing, few neighbours, copies of queries.

Files of answers hold arrays (n,) of it by name, only where some image is concerned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nndefense.axes.cells import Cell
from nndefense.axes.queries import Pack, QuerySet
from nndefense.core.arrays import read_array, read_arrays
from nndefense.core.errors import InputError
from nndefense.database.copies import UNREAD, first_copies

OF_DATABASES = ("voters", "copies", "near")


def doubt_name(what: str, queries: QuerySet, pool: str = "", size: int = 0) -> str:
    """Name of an array: of a query set (`idle`), or of one in a database (OF_DATABASES)."""
    return "/".join([queries.member, *([pool, str(size)] if pool else []), what])


def doubts_of(stored: Mapping[str, np.ndarray], queries: QuerySet, cell: Cell) -> dict[str, np.ndarray | None]:
    """Fields of `Answers` of a cell, by name, from the arrays of a file of answers."""
    found = {one: stored.get(doubt_name(one, queries, cell.pool, cell.size)) for one in OF_DATABASES}
    if found["voters"] is not None:
        found["voters"] = np.minimum(found["voters"], cell.neighbors)
    return {"idle": stored.get(doubt_name("idle", queries)), **found}


def database_doubts(
    lists: Mapping[str, np.ndarray], pool: str, sizes: Sequence[int], first: np.ndarray, pack: Pack, k: int
) -> dict[str, np.ndarray]:
    """Arrays by name, of the query sets of a pack in the databases of a pool.

    Args:
        lists: ids (sets, sizes, n, kept), -1 where a place is empty, and near (sets, sizes, n) bool.
        pool: its name.
        sizes: of the databases.
        first: (n,) first row of the pool that has the pixels of each image, as of `first_copies`.
        pack: the query sets.
        k: the largest number of neighbours that vote.
    """
    found: dict[str, np.ndarray] = {}
    for number, queries in enumerate(pack):
        for place, size in enumerate(sizes):
            voters = (lists["ids"][number, place, :, :k] >= 0).sum(axis=1).astype(np.int32)
            same = first < size
            values = {"voters": voters, "copies": same, "near": lists["near"][number, place] | same}
            doubtful = {name: (one < k if name == "voters" else one).any() for name, one in values.items()}
            found |= {doubt_name(name, queries, pool, size): values[name] for name in values if doubtful[name]}
    return found


@dataclass(frozen=True)
class Copies:
    """Test images that pools have, too.

    Attributes:
        rows: (n,) ids of the test images.
        first: pool -> first row (n,) that has the pixels of each, as of `first_copies`.
    """

    rows: np.ndarray
    first: Mapping[str, np.ndarray]

    def within(self, pool: str, size: int) -> int:
        """How many a database has."""
        return int((self.first[pool] < size).sum())

    def of(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`first` of some of the test images, by their ids. InputError for one that is none."""
        order = np.argsort(self.rows, kind="stable")
        places = order[np.searchsorted(self.rows, rows, sorter=order).clip(max=len(order) - 1)]
        if not np.array_equal(self.rows[places], rows):
            raise InputError(
                f"image {rows[self.rows[places] != rows][0]} is attacked, and is not among the test images"
            )
        return {pool: first[places] for pool, first in self.first.items()}


def read_copies(clean: str | Path, pixels: Sequence[str | Path], left_out: Sequence[str | Path] = ()) -> Copies:
    """Copies of the test images in every pool that the files are of.

    Args:
        clean: the clean query set, with the sums of its pixels.
        pixels: sums of the shards' images.
        left_out: rows that are not searched, of shards; copies among them do not count.
    """
    stored, unsearched = read_arrays(clean, "rows", "pixels"), {}
    for path in left_out:
        rows, about = read_array(path)
        unsearched[about["pool"], about["start"]] = rows - about["start"]
    shards: dict[str, list[tuple[int, np.ndarray]]] = {}
    for path in pixels:
        sums, about = read_array(path, mapped=True)
        if len(rows := unsearched.get((about["pool"], about["start"]), ())):
            sums = np.array(sums)
            sums[rows] = UNREAD
        shards.setdefault(about["pool"], []).append((about["start"], sums))
    return Copies(stored["rows"], {pool: first_copies(stored["pixels"], parts) for pool, parts in shards.items()})
