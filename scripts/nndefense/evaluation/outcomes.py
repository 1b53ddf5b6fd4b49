"""Files of answers: predicted classes of systems on a pack of query sets."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nndefense.axes.cells import PREDICTIONS, Cell, System
from nndefense.axes.queries import Pack, QuerySet
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import InputError
from nndefense.core.seals import fault
from nndefense.evaluation.base import Answers
from nndefense.evaluation.doubts import doubt_name, doubts_of

SPLIT = "@"


def write_predictions(
    path: str | Path,
    labels: np.ndarray,
    rows: np.ndarray,
    predicted: Mapping[tuple[QuerySet, System], np.ndarray],
    delta: Mapping[QuerySet, np.ndarray],
    doubts: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write the answers of systems on query sets of the same images.

    Args:
        path: .npz to write.
        labels, rows: (n,) integers, of the images.
        predicted: (query set, system) -> classes (n,).
        delta: query set -> measured distances (n,) in its own ball.
        doubts: arrays (n,) by the name that `doubt_name` gives them; those that give no cause for doubt are left out.
    """
    arrays = {f"{queries.member}/delta": values for queries, values in delta.items()}
    arrays |= {
        f"{queries.member}{SPLIT}{system}": classes.astype(np.int16) for (queries, system), classes in predicted.items()
    }
    write_arrays(path, labels=labels, rows=rows, **arrays, **(doubts or {}))


class QueryFile(NamedTuple):
    """What a file of query sets tells of its images.

    Attributes:
        labels, rows: (n,).
        delta: query set -> measured distances (n,) in its own ball, 0 where clean.
        doubts: as of `write_predictions`, where an attack did nothing to images.
    """

    labels: np.ndarray
    rows: np.ndarray
    delta: dict[QuerySet, np.ndarray]
    doubts: dict[str, np.ndarray]


def read_queries(path: str | Path, pack: Pack) -> QueryFile:
    """What a file of the query sets of a pack tells of its images; reads no pixels. Raises FileFault for another."""
    attacked = [one for one in pack if one.ball]
    names = [name for one in attacked for name in (f"{one.member}/delta_{one.ball}", doubt_name("idle", one))]
    stored = read_arrays(path, "labels", "rows", *names)
    delta = {one: np.zeros(len(stored["labels"])) for one in pack}
    delta |= {one: stored[f"{one.member}/delta_{one.ball}"] for one in attacked}
    idle = {name: stored[name] for name in (doubt_name("idle", one) for one in attacked) if stored[name].any()}
    return QueryFile(stored["labels"], stored["rows"], delta, idle)


def read_predictions(path: str | Path, features: str, pack: Pack) -> list[Answers]:
    """Answers in a file of predictions, in its order.

    Args:
        path: the file.
        features: layer, or defence, that the file's place names.
        pack: query sets that its name says.

    Raises:
        FileFault: a damaged file, or query sets that the pack does not have.
    """
    stored = read_arrays(path)
    sets = {one.member: one for one in pack}
    found = []
    for name, values in stored.items():
        member, split, system = name.partition(SPLIT)
        if not split:
            continue
        if member not in sets:
            raise fault(path, f"holds answers to {member!r}, which is not among {', '.join(sets)}")
        cell = Cell.of(System.parse(system, features), sets[member])
        one = Answers(cell, values, stored["labels"], stored["rows"], stored[f"{member}/delta"])
        doubts: dict[str, Any] = doubts_of(stored, sets[member], cell)
        found.append(replace(one, **doubts))
    return found


def split_place(path: str | Path) -> tuple[str, str, Pack]:
    """(model, layer or defence, pack) of a file `…/predictions/{model}/{layer or defence}/{pack}.npz`.

    Raises InputError for another path, ConfigError for a name that is no pack.
    """
    parts = Path(path).parts
    place = next((at for at in reversed(range(len(parts))) if parts[at] == PREDICTIONS), None)
    if place is None or len(parts) < place + 4:
        raise InputError(f"{path}: is not {PREDICTIONS}/MODEL/LAYER/QUERIES.npz")
    model = parts[place + 1]
    return model, *place_of(path, Path(*parts[: place + 2]))


def place_of(path: str | Path, root: str | Path) -> tuple[str, Pack]:
    """(layer or defence, pack) of a file `root/{layer or defence}/{pack}.npz` (or .csv).

    Raises InputError for another path, ConfigError for a name that is no pack.
    """
    file, inner = Path(path), Path(root).parts
    # Copies of a storage provider lie in a folder of their own, by the same place.
    starts = [at for at in range(len(file.parts)) if file.parts[at : at + len(inner)] == inner]
    parts = file.parts[starts[-1] + len(inner) :] if starts else ()
    if len(parts) < 2:
        raise InputError(f"{path}: is not {root}/LAYER/QUERIES{file.suffix}")
    return parts[0], Pack.parse("/".join(parts[1:]).removesuffix(file.suffix))


def read_outcomes(paths: Iterable[str | Path], root: str | Path) -> list[Answers]:
    """Answers of many files `root/{layer or defence}/{pack}.npz`.

    Raises InputError if a path lies elsewhere, or if two files are not of the same images in the same order.
    """
    found: list[Answers] = []
    for path in paths:
        answers = read_predictions(path, *place_of(path, root))
        if answers and found and not _same_images(answers[0], found[0]):
            raise InputError(f"{path}: holds other images, or another order, than the first file")
        found += answers
    return found


def _same_images(one: Answers, other: Answers) -> bool:
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.labels, other.labels)
