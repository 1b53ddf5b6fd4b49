"""Which test images were classified right, in every cell of the experiment: what claims are judged on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nndefense.axes.ball import LINF
from nndefense.axes.cells import NEIGHBORS, Cell
from nndefense.evaluation.base import Answers
from nndefense.features.names import is_rmac
from nndefense.report.names import Params

Outcomes = Mapping[Cell, np.ndarray]


def relevant(cell: Cell, params: Params) -> bool:
    """Whether a claim can compare the cell: away from the base on at most one of features, K, and the vote.

    R-MAC features count as the base features: Tables 1, 2 and 4 hold them.
    """
    if cell.space not in ("none", params["space"], str(LINF)):
        return False
    if cell.defense != NEIGHBORS:
        return True
    features = cell.features != params["features"] and not is_rmac(cell.features)
    vote = (cell.weighting, cell.combination) != (params["weighting"], params["combination"])
    return features + (cell.neighbors != params["neighbors"]) + vote <= 1


def outcomes_of(answers: Iterable[Answers], params: Params) -> dict[Cell, np.ndarray]:
    """Correctness (n,) bool by cell, of the answers that a claim can compare."""
    return {one.cell: one.correct for one in answers if relevant(one.cell, params)}


def outcome_rows(outcomes: Outcomes) -> list[Mapping[str, Any]]:
    """The cells as rows that `nndefense.report.select` understands; `cell` is the key."""
    return [{**cell._asdict(), "cell": cell, "accuracy": float(right.mean())} for cell, right in outcomes.items()]


def cells_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    """The keys of rows."""
    return tuple(row["cell"] for row in rows)
