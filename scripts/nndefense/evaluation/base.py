"""What an evaluation kind is given and gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nndefense.axes.cells import Cell


@dataclass(frozen=True)
class Answers:
    """A system's answers to a query set.

    Attributes:
        cell: which system and which query set.
        classes: (n,) integers, predicted; -1 for "no class", which is never right.
        labels: (n,) integers. rows: (n,) ids of the images.
        delta: (n,) float64, measured distances from the clean images in the query set's own ball; 0 where clean.
        idle: (n,) bool, the attack did nothing to the image; None: to none of them nothing.
        voters: (n,) integers, neighbours that each answer rests on; None: as many as the cell says.
        copies, near: (n,) bool, a database image has the clean image's pixels, or nearly the image's code; None: none.
    """

    cell: Cell
    classes: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    delta: np.ndarray
    idle: np.ndarray | None = None
    voters: np.ndarray | None = None
    copies: np.ndarray | None = None
    near: np.ndarray | None = None

    @property
    def correct(self) -> np.ndarray:
        """(n,) bool."""
        return (self.classes == self.labels) & (self.classes >= 0)


@dataclass(frozen=True)
class Kind:
    """An evaluation kind.

    Attributes:
        columns: the measured columns, behind those of `nndefense.evaluation.rows.AXES`.
        measure: the values of `columns` by name, of each of several answers of one file, in their order.
    """

    columns: tuple[str, ...]
    measure: Callable[[Sequence[Answers]], Sequence[dict[str, Any]]]


@dataclass(frozen=True)
class Summary:
    """An evaluation of all answers of a system together.

    Attributes:
        columns: as of `Kind`.
        summarize: cells, and the values of `columns` by name, of all answers of a layer or defence.
    """

    columns: tuple[str, ...]
    summarize: Callable[[Sequence[Answers]], Sequence[tuple[Cell, dict[str, Any]]]]
