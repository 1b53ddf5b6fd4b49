"""Which test images were classified right, in every cell of the experiment: what claims are judged on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from nndefense.errors import InputError
from nndefense.features.names import is_rmac
from nndefense.files import read_arrays
from nndefense.retrieval.queries import query_axes

UNDEFENDED = "undefended"
_COMMON = ("labels", "rows")


class Cell(NamedTuple):
    """The columns of an accuracy row that tell cells of one run apart."""

    pool: str
    size: int
    features: str
    neighbors: int
    weighting: str
    combination: str
    defense: str
    attack: str
    setting: str
    space: str
    epsilon: float


Outcomes = Mapping[Cell, np.ndarray]


def outcomes_of(predictions: Mapping[str, np.ndarray], features: str, queries: str) -> dict[Cell, np.ndarray]:
    """Correctness (n,) bool by cell, from one file of predictions.

    predictions: `labels`, `rows` and predicted classes (n,) under `pool/size/K/weighting/combination`, or under the
    name of a defence without a database (`undefended` is none at all). features: the layer. queries: name of the
    query set. A prediction of -1 is never right. Raises InputError for other names.
    """
    axes = query_axes(queries)
    labels = predictions["labels"]
    found = {}
    for name, classes in predictions.items():
        if name in _COMMON:
            continue
        match name.split("/"):
            case [pool, size, neighbors, weighting, combination] if size.isdecimal() and neighbors.isdecimal():
                cell = Cell(pool, int(size), features, int(neighbors), weighting, combination, "knn", **axes)
            case [defense]:
                defense = "none" if defense == UNDEFENDED else defense
                cell = Cell("none", 0, "none", 0, "none", "none", defense, **axes)
            case _:
                raise InputError(f"predictions {name!r}: expected pool/size/K/weighting/combination, or a defence")
        found[cell] = (classes == labels) & (classes >= 0)
    return found


def relevant(cell: Cell, base: Mapping[str, Any]) -> bool:
    """Whether a claim can compare the cell: away from the base on at most one of features, K, and the vote.

    R-MAC features count as the base features: Tables 1, 2 and 4 hold them.
    """
    if cell.space not in ("none", base["space"]):
        return False
    if cell.defense != "knn":
        return True
    features = cell.features != base["features"] and not is_rmac(cell.features)
    vote = (cell.weighting, cell.combination) != (base["weighting"], base["combination"])
    return features + (cell.neighbors != base["neighbors"]) + vote <= 1


def read_outcomes(paths: Sequence[str], root: str, base: Mapping[str, Any]) -> dict[Cell, np.ndarray]:
    """Outcomes of all relevant cells from files `root/{features}/{queries}.npz`.

    Raises InputError if a path lies elsewhere, or if two files are not of the same images in the same order.
    """
    outcomes: dict[Cell, np.ndarray] = {}
    first: dict[str, np.ndarray] = {}
    for path in paths:
        features, queries = split_path(path, root)
        predictions = read_arrays(path)
        first = first or {name: predictions[name] for name in _COMMON}
        if not all(np.array_equal(predictions[name], first[name]) for name in _COMMON):
            raise InputError(f"{path}: holds other images, or another order, than {paths[0]}")
        found = outcomes_of(predictions, features, queries)
        outcomes |= {cell: right for cell, right in found.items() if relevant(cell, base)}
    return outcomes


def split_path(path: str, root: str) -> tuple[str, str]:
    """(features, queries) of `root/{features}/{queries}.npz`. Raises InputError for another path."""
    file = PurePath(path)
    parts = file.relative_to(root).parts if file.is_relative_to(root) else ()
    if len(parts) < 2 or file.suffix != ".npz":
        raise InputError(f"{path}: is not {root}/FEATURES/QUERIES.npz")
    return parts[0], "/".join(parts[1:]).removesuffix(".npz")


def outcome_rows(outcomes: Outcomes) -> list[dict[str, Any]]:
    """The cells as rows that `nndefense.report.select` understands; `cell` is the key."""
    return [{**cell._asdict(), "cell": cell} for cell in outcomes]


def cells_of(rows: Iterable[Mapping[str, Any]]) -> tuple[Cell, ...]:
    """The keys of rows."""
    return tuple(row["cell"] for row in rows)
