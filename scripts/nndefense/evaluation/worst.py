"""The worst case: an image counts as right where the system is right on it clean and under every attack.

accuracy_worst(epsilon) is the share of images that are right on every query set within a budget of at most epsilon: a
bound from above on the robust accuracy, which no attack that was tried exceeds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nndefense.axes.cells import Cell
from nndefense.axes.queries import WORST
from nndefense.core.errors import InputError
from nndefense.evaluation.accuracy import ACCURACY, measure_doubts
from nndefense.evaluation.base import Answers, Summary
from nndefense.evaluation.intervals import wilson_interval

TRANSFER = ("gray_box", "black_box")
Right = Mapping[Cell, np.ndarray]
Measured = list[tuple[Cell, dict[str, Any]]]


def measure_worst(answers: Sequence[Answers]) -> Measured:
    """A row for each system and budget that some query set of the worst case is of.

    Its distances are those of the images that came furthest. Further columns: `clean`; `transfer`, the least accuracy
    among attacks through the target network or the surrogate, NaN without any; `strongest`, "setting/attack" of the
    attack that broke most alone, and what it left. All on the same images.

    Raises:
        InputError: a query set lacks images of the worst case.
    """
    return [(worst.cell, _worst_values(worst, right)) for worst, right in _by_budget(answers)]


def measure_breaks(answers: Sequence[Answers]) -> Measured:
    """A row for each attack, alone, within each budget of the worst case: what it leaves, and breaks as the only one.

    Attacks of several smaller budgets count as one. Raises InputError as `measure_worst`.
    """
    found = []
    for worst, right in _by_budget(answers):
        alone: dict[tuple[str, str], np.ndarray] = {}
        for cell, one in right.items():
            if cell.setting != "clean" and cell.attack != WORST:
                alone[cell.setting, cell.attack] = one & alone.get((cell.setting, cell.attack), True)
        clean = np.logical_and.reduce(
            [one for cell, one in right.items() if cell.setting == "clean"] or [np.array(True)]
        )
        broken = {name: clean & ~one for name, one in alone.items()}
        times = sum((one.astype(int) for one in broken.values()), np.zeros(len(worst.rows), dtype=int))
        for (setting, attack), one in alone.items():
            cell = worst.cell._replace(setting=setting, attack=attack)
            unique = int((broken[setting, attack] & (times == 1)).sum())
            found.append((cell, _share(one) | {"unique": unique}))
    return found


def worst_answers(answers: Sequence[Answers]) -> list[Answers]:
    """Answers in the worst case of each system and budget, a setting of their own: right where every one is right.

    Raises InputError as `measure_worst`.
    """
    found = []
    for worst, right in _by_budget(answers):
        holds = np.logical_and.reduce(list(right.values()))
        classes = np.where(holds, worst.labels, -1)
        found.append(replace(worst, cell=worst.cell._replace(setting=WORST), classes=classes))
    return found


def _by_budget(answers: Sequence[Answers]) -> Iterator[tuple[Answers, Right]]:
    """The worst query sets, and which of their images are right on each query set within their budget."""
    systems: dict[tuple[object, ...], list[Answers]] = {}
    for one in answers:
        systems.setdefault(one.cell[:7], []).append(one)
    for own in systems.values():
        for worst in sorted((one for one in own if one.cell.attack == WORST), key=lambda one: one.cell.epsilon):
            yield worst, {one.cell: _at(one, worst.rows) for one in own if _within(one, worst)}


def _within(one: Answers, worst: Answers) -> bool:
    """Whether an attacker of the worst case's budget could have used a query set."""
    return one.cell.setting == "clean" or (
        one.cell.space == worst.cell.space and one.cell.epsilon <= worst.cell.epsilon
    )


def _at(one: Answers, rows: np.ndarray) -> np.ndarray:
    """Whether the answers to the images `rows` are right, (n,) bool."""
    order = np.argsort(one.rows, kind="stable")
    places = np.searchsorted(one.rows, rows, sorter=order).clip(max=len(order) - 1)
    if not np.array_equal(one.rows[order[places]], rows):
        raise InputError(f"worst case: {one.cell.setting}/{one.cell.attack} lacks images that are attacked")
    return one.correct[order[places]]


def _worst_values(worst: Answers, right: Right) -> dict[str, Any]:
    alone = {cell: float(one.mean()) for cell, one in right.items() if cell.attack != WORST}
    if not alone:
        raise InputError("worst case: there are no answers to clean images, nor to any single attack")
    strongest = min(alone, key=alone.__getitem__)
    return {
        "delta_mean": float(worst.delta.mean()),
        "delta_max": float(worst.delta.max()),
        **_share(np.logical_and.reduce(list(right.values()))),
        **measure_doubts(worst),
        "clean": _least(value for cell, value in alone.items() if cell.setting == "clean"),
        "transfer": _least(value for cell, value in alone.items() if cell.setting in TRANSFER),
        "strongest": f"{strongest.setting}/{strongest.attack}",
        "strongest_accuracy": alone[strongest],
    }


def _share(right: np.ndarray) -> dict[str, Any]:
    low, high = wilson_interval(int(right.sum()), len(right))
    return {"accuracy": int(right.sum()) / len(right), "ci_low": low, "ci_high": high, "n": len(right)}


def _least(values: Iterable[float]) -> float:
    return min(values, default=float("nan"))


WORST_CASE = Summary((*ACCURACY.columns, "clean", "transfer", "strongest", "strongest_accuracy"), measure_worst)
BREAKS = Summary(("accuracy", "ci_low", "ci_high", "n", "unique"), measure_breaks)
