"""Two runs side by side: differences of accuracy in the cells that both have, on the test images that both have."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nndefense.axes.cells import PREDICTIONS, Cell
from nndefense.core.arrays import read_arrays
from nndefense.core.errors import InputError
from nndefense.core.seals import read_seal
from nndefense.evaluation.base import Answers
from nndefense.evaluation.outcomes import read_predictions, split_place
from nndefense.evaluation.pairs import paired_difference, unpaired_difference
from nndefense.evaluation.worst import worst_answers

MEASURED = ("accuracy_reference", "accuracy", "difference", "low", "high", "n", "n_reference", "n_run")
Key = tuple[str, Cell]


class Images(NamedTuple):
    """The test images of a run.

    Attributes:
        rows: (n,) ids. sums: (n,) of their pixels.
    """

    rows: np.ndarray
    sums: np.ndarray


@dataclass(frozen=True)
class Run:
    """What a run answered.

    Attributes:
        name: of the run.
        cells: answers by model and cell; the model is "" where there is only one, whatever it is called.
        images: its test images; None where the run does not tell.
    """

    name: str
    cells: Mapping[Key, Answers]
    images: Images | None = None


@dataclass(frozen=True)
class Difference:
    """Accuracy of a run minus that of the reference in a cell.

    Attributes:
        model, cell: which.
        reference, ours: accuracies, on the common images where there are some.
        value, low, high: their difference and its 95 % interval.
        n: common images; 0: the interval is that of independent images.
        n_reference, n_ours: images of each run in this cell.
    """

    model: str
    cell: Cell
    reference: float
    ours: float
    value: float
    low: float
    high: float
    n: int
    n_reference: int
    n_ours: int

    @property
    def direction(self) -> int:
        """1 or -1 where the interval excludes 0; 0 where it does not."""
        return int(self.low > 0) - int(self.high < 0)

    def row(self) -> dict[str, Any]:
        """Columns of the cell, then MEASURED."""
        values = (
            self.reference, self.ours, self.value, self.low, self.high, self.n, self.n_reference, self.n_ours,
        )  # fmt: skip
        return {"model": self.model, **self.cell._asdict(), **dict(zip(MEASURED, values, strict=True))}


def read_run(folder: str | Path, name: str) -> Run:
    """All answers in a folder of results, and its worst cases.

    Args:
        folder: with predictions/MODEL/SYSTEM/QUERIES.npz, and attacks/clean.npz, which tells images apart.
        name: what the run is called.

    Raises:
        InputError: there are no answers. FileFault: a damaged file.
    """
    models: dict[str, list[Answers]] = {}
    for path in sorted(Path(folder, PREDICTIONS).rglob("*.npz")):
        model, system, pack = split_place(path)
        models.setdefault(model, []).extend(read_predictions(path, system, pack))
    if not models:
        raise InputError(f"{name}: has no answers in {PREDICTIONS}/; allowed: folders of results")
    cells = {
        (model if len(models) > 1 else "", one.cell): one
        for model, answers in models.items()
        for one in [*answers, *worst_answers(answers)]
    }
    clean = Path(folder, "attacks", "clean.npz")
    if not clean.is_file() or "pixels" not in read_seal(clean)["about"].get("members", {}):
        return Run(name, cells)
    stored = read_arrays(clean, "rows", "pixels")
    return Run(name, cells, Images(stored["rows"], stored["pixels"]))


def same_images(reference: Run, ours: Run) -> np.ndarray | None:
    """Ids that are the same image, pixel by pixel, in both runs; None where a run does not tell its pixels."""
    if reference.images is None or ours.images is None:
        return None
    rows, first, second = np.intersect1d(reference.images.rows, ours.images.rows, return_indices=True)
    return rows[reference.images.sums[first] == ours.images.sums[second]]


def compare_runs(reference: Run, ours: Run) -> list[Difference]:
    """Differences in all cells that both runs have, in the order of the reference."""
    same = same_images(reference, ours)
    return [
        compare_answers(key[0], one, ours.cells[key], same) for key, one in reference.cells.items() if key in ours.cells
    ]


def compare_answers(model: str, reference: Answers, ours: Answers, same: np.ndarray | None = None) -> Difference:
    """The difference in one cell.

    Paired on the images that both have, by their ids; without any, of independent images.

    Args:
        model: its name. reference, ours: answers in the same cell.
        same: ids that mean the same image; None: all that also have the same label do.
    """
    rows, first, second = np.intersect1d(reference.rows, ours.rows, return_indices=True)
    common = reference.labels[first] == ours.labels[second]
    if same is not None:
        common &= np.isin(rows, same)
    first, second = first[common], second[common]
    n = len(first)
    before, after = reference.correct, ours.correct
    if n:
        before, after = before[first], after[second]
    value, low, high = paired_difference(after, before) if n else unpaired_difference(after, before)
    counts = (n, len(reference.rows), len(ours.rows))
    return Difference(model, reference.cell, float(before.mean()), float(after.mean()), value, low, high, *counts)


def alone(run: Run, others: Iterable[Key]) -> tuple[int, dict[str, list[Any]]]:
    """How many cells a run has besides those of others, and the values of axes that these have nowhere."""
    others = set(others)
    own = [cell for model, cell in run.cells if (model, cell) not in others]
    found: dict[str, list[Any]] = {}
    for axis, field in enumerate(Cell._fields):
        known = {cell[axis] for _, cell in others}
        if values := list(dict.fromkeys(cell[axis] for cell in own if cell[axis] not in known)):
            found[field] = values
    return len(own), found


def settings_of(differences: Sequence[Difference]) -> dict[str, list[Difference]]:
    """Differences by setting: clean, each threat model, the worst case."""
    found: dict[str, list[Difference]] = {}
    for one in differences:
        found.setdefault(one.cell.setting, []).append(one)
    return found
