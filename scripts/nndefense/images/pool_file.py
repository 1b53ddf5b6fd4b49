"""Pools on disk: which image of which set stands at which place, as a table or as a function of the place.

Orders: `table`, a seeded permutation, a row an image; `function`, a seeded permutation that is computed (Feistel);
`tars`, that of `nndefense.images.tar_order`. The latter two need no rows: the sets' numbers of rows and the seed are
all. Where only images of some tags are kept, these are the rows, ascending, and places among them are permuted.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from nndefense.axes.shards import permute_pool
from nndefense.core.errors import InputError
from nndefense.core.progress import blocks
from nndefense.core.tables import ROWS, TableReader, stream_table
from nndefense.images.base import checked_rows, text_column
from nndefense.images.manifest import StoredManifest
from nndefense.images.permutation import Permutation
from nndefense.images.tar_order import TarOrder

Order = Literal["table", "function", "tars"]


class Found(NamedTuple):
    """Images of a pool.

    Attributes:
        sets: (n,) names.
        rows: (n,) int64, of each in its set.
    """

    sets: np.ndarray
    rows: np.ndarray


class PoolFile:
    """A pool on disk. Only its footer is read when it is opened.

    Attributes:
        sets: what was known of each set that it draws from: name, rows, kept, sha256 of the manifest; none where the
            file is a plain table.
    """

    def __init__(self, path: str | Path) -> None:
        self.table = TableReader(path)
        facts = self.table.facts
        self.order: Order = facts.get("order", "table")
        self.sets: list[Mapping[str, Any]] = facts.get("sets", [])
        self.explicit = bool(len(self.table))
        self._starts = np.cumsum([0, *(one["kept"] for one in self.sets)])
        self._permuted = _permuted(self.order, facts)

    def __len__(self) -> int:
        return len(self.table) if self.explicit else int(self._starts[-1])

    def rows_at(self, places: Sequence[int] | np.ndarray) -> Found:
        """Images at places (n,); of a table, only row groups that these lie in are read.

        Raises:
            InputError: a place that the pool does not have.
        """
        index = self._permuted(checked_rows(places, len(self)))
        if self.explicit:
            return Found(*self.table.take(index, "set", "row").values())
        numbers = np.searchsorted(self._starts, index, side="right") - 1
        names = text_column([one["name"] for one in self.sets])
        return Found(names[numbers], index - self._starts[numbers])

    def tags_at(self, places: Sequence[int] | np.ndarray, manifests: Mapping[str, StoredManifest]) -> np.ndarray:
        """Tags (n,) of images at places (n,); manifests, by set, say those of images that the pool has no row of."""
        if self.explicit:
            return self.table.take(self._permuted(checked_rows(places, len(self))), "tag")["tag"]
        sets, rows = self.rows_at(places)
        found = np.empty(len(rows), dtype=object)
        for name in dict.fromkeys(sets):
            chosen = np.flatnonzero(sets == name)
            found[chosen] = manifests[name].table.take(rows[chosen], "tag")["tag"]
        return found


def _permuted(order: Order, facts: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """From places to images as they are numbered through."""
    if order == "table":
        return lambda places: places
    if order == "tars":
        return TarOrder(facts["tars"], facts["seed"]).rows_at
    return Permutation(sum(one["kept"] for one in facts["sets"]), facts["seed"]).rows_at


# -- building


def write_pool(
    path: str | Path, manifests: Mapping[str, StoredManifest], tags: Collection[str] | None, order: Order, seed: int
) -> None:
    """Write a pool; but for a table, which holds 20 bytes an image, nothing is held that grows with the images.

    Args:
        path: to write.
        manifests: of the sets that it draws from, by name, in their order.
        tags: those whose images are kept; None: all are.
        order: of the images.
        seed: of the order.

    Raises:
        InputError: nothing is kept, or an order of tars of a set that has none.
    """
    with stream_table(path, repeated=("set", "tag")) as table:
        if order == "table":
            counts = _write_table(table.append, manifests, tags, seed)
        elif tags is None:
            counts = {name: len(manifest) for name, manifest in manifests.items()}
            table.append({"set": text_column([]), "row": np.zeros(0, np.int64), "tag": text_column([])})
        else:
            counts = _write_kept(table.append, manifests, tags)
        if not sum(counts.values()):
            raise InputError(f"pool {Path(path).stem}: no image has a tag that names a class of the task")
        table.facts = {
            "order": order,
            "seed": seed,
            "sets": [
                {"name": name, "rows": len(one), "kept": counts[name], "sha256": one.sha256}
                for name, one in manifests.items()
            ],
        }
        if order == "tars":
            table.facts["tars"] = [count for name, one in manifests.items() for count in _in_tars(name, one, tags)]


def kept_blocks(manifest: StoredManifest, tags: Collection[str] | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows (n,) int64 of a set whose tag is among `tags` (None: all), ascending, and their tags (n,), in blocks."""
    start, wanted = 0, None if tags is None else sorted(tags)
    for block in manifest.table.blocks("tag"):
        found = block["tag"]
        kept = np.arange(len(found)) if wanted is None else np.flatnonzero(np.isin(found.astype(str), wanted))
        yield start + kept, found[kept]
        start += len(found)


def _write_kept(
    append: Callable, manifests: Mapping[str, StoredManifest], tags: Collection[str] | None
) -> dict[str, int]:
    counts = dict.fromkeys(manifests, 0)
    for name, manifest in manifests.items():
        for rows, found in kept_blocks(manifest, tags):
            append({"set": np.full(len(rows), name), "row": rows, "tag": found})
            counts[name] += len(rows)
    return counts


def _write_table(
    append: Callable, manifests: Mapping[str, StoredManifest], tags: Collection[str] | None, seed: int
) -> dict[str, int]:
    counts, parts = dict.fromkeys(manifests, 0), []
    words: dict[str, int] = {}
    for number, (name, manifest) in enumerate(manifests.items()):
        for rows, found in kept_blocks(manifest, tags):
            known = np.array([words.setdefault(tag, len(words)) for tag in found.tolist()], dtype=np.int32)
            parts.append((np.full(len(rows), number, np.int32), rows, known))
            counts[name] += len(rows)
    sets, rows, known = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    names, texts = text_column(list(manifests)), text_column(list(words))
    order = permute_pool(np.arange(len(rows)), seed)
    for block in blocks(len(rows), ROWS):
        chosen = order[block]
        append({"set": names[sets[chosen]], "row": rows[chosen], "tag": texts[known[chosen]]})
    return counts


def _in_tars(name: str, manifest: StoredManifest, tags: Collection[str] | None) -> list[int]:
    """How many images of each tar of a set are kept."""
    counts = np.array([tar[2] for tar in manifest.facts.get("tars", [])], dtype=np.int64)
    # Of a set that is a part of another one, tars are those of the whole.
    if counts.sum() != len(manifest):
        raise InputError(f"order: tars, but image set {name} is not of whole tars; allowed: sets of kind webdataset")
    if tags is None:
        return counts.tolist()
    ends, kept = np.cumsum(counts), np.zeros(len(counts), dtype=np.int64)
    for rows, _ in kept_blocks(manifest, tags):
        np.add.at(kept, np.searchsorted(ends, rows, side="right"), 1)
    return kept.tolist()
