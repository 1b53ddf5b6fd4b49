"""Which images hold against everything that a run has stored: what a stronger attack has to break."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nndefense.axes.ball import Ball
from nndefense.axes.numbers import number_text
from nndefense.axes.queries import WORST, Pack
from nndefense.axes.threat import ADAPTIVE, Threat
from nndefense.core.arrays import read_arrays
from nndefense.evaluation.outcomes import place_of, read_predictions
from nndefense.evaluation.rows import read_rows
from nndefense.evaluation.systems import DefendedSystem
from nndefense.evaluation.worst import WORST_CASE


@dataclass(frozen=True)
class StoredWorst:
    """The worst case of a system that a run has stored.

    Attributes:
        accuracy: in the worst case.
        rows: (n,) ids of its images.
        holding: (h,) ids of those that nothing stored breaks.
    """

    accuracy: float
    rows: np.ndarray
    holding: np.ndarray


def stored_worst(results: str | Path, system: DefendedSystem, ball: Ball, epsilon: float) -> StoredWorst | None:
    """The stored worst case of a system within a budget; None where the run has none.

    Args:
        results: folder of results.
        system: the system.
        ball: what the budget bounds.
        epsilon: the budget.

    Raises:
        FileFault: a damaged file.
    """
    table = Path(results, "accuracy_worst", system.model_name, f"{system.folder}.csv")
    wanted = {**system.columns._asdict(), "space": str(ball), "epsilon": epsilon}
    lines = read_rows(table, WORST_CASE) if table.is_file() else []
    found = [line for line in lines if all(line[name] == value for name, value in wanted.items())]
    path = _worst_file(results, system, ball, epsilon)
    if not found or path is None:
        return None
    name = f"{number_text(epsilon)}/broken_by"
    stored = read_arrays(path, "rows", name)
    holding = set(stored["rows"][stored[name] == ""].tolist()) - _wrong(results, system, ball, epsilon)
    return StoredWorst(found[0]["accuracy"], stored["rows"], np.array(sorted(holding), dtype=np.int64))


def _worst_file(results: str | Path, system: DefendedSystem, ball: Ball, epsilon: float) -> Path | None:
    root = Path(results, "attacks")
    for path in sorted((root / str(ball) / str(Threat(ADAPTIVE, system.name)) / WORST).glob("eps-*.npz")):
        if epsilon in Pack.parse(path.relative_to(root).as_posix().removesuffix(".npz")).epsilons:
            return path
    return None


def _wrong(results: str | Path, system: DefendedSystem, ball: Ball, epsilon: float) -> set[int]:
    """Rows of images that the system's stored answers are wrong about.

    A search of the worst case draws a random defence anew, so that an image may hold there and yet be answered wrong.
    """
    root = Path(results, "predictions", system.model_name)
    found: set[int] = set()
    for path in sorted((root / system.folder).rglob("*.npz")):
        for one in read_predictions(path, *place_of(path, root)):
            within = one.cell.space == str(ball) and one.cell.epsilon <= epsilon
            if one.cell[: len(system.columns)] == system.columns and (within or one.cell.setting == "clean"):
                found.update(one.rows[~one.correct].tolist())
    return found
