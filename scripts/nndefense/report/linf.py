"""The l-infinity comparison of networks: its rows, the names of its networks, the paper's values.

Zhao, Li & Cho 2018 ("Retrieval as a defense mechanism against adversarial examples in convolutional neural networks",
SysML), Table 1: a baseline network and retrieval-augmented ones (RA-CNN) with N = 5 and 10 retrieved images on SVHN.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nndefense.errors import InputError
from nndefense.report.paper import paper_rows
from nndefense.report.select import Row, distinct, matching

SOURCE = "zhao_li_cho2018"
PAPER = "Paper (SVHN, its own networks)"
SETTINGS = {"white_box": "White box", "transfer": "Transfer"}
CLEAN = ("none", 0.0)
BASELINE = "Baseline"
_PAPER_ATTACKS = {"clean": "none", "FGSM_linf": "fgsm", "iFGSM_linf": "ifgsm"}

Column = tuple[str, float]


class LinfCell(NamedTuple):
    """The columns of an accuracy row that tell cells of the comparison apart."""

    model: str
    neighbors: int
    setting: str
    attack: str
    epsilon: float


def select_linf(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """All rows, those of the baseline (`base["baseline"]`) first. InputError if it has none."""
    first = matching(rows, model=base["baseline"])
    if not first:
        raise InputError(f"accuracy rows: none is of the baseline {base['baseline']!r}")
    return [*first, *(row for row in rows if row["model"] != base["baseline"])]


def network_name(row: Row, base: Mapping[str, Any]) -> str:
    """Baseline (resnet20), RA-CNN, N = 5 (racnn_5), or the name of another network."""
    if row["model"] == base["baseline"]:
        return f"{BASELINE} ({row['model']})"
    return f"{_retrieval_name(row['neighbors'])} ({row['model']})" if row["neighbors"] else row["model"]


def column_of(row: Row) -> Column:
    """Attack and budget; ("none", 0.0) for the clean images."""
    return row["attack"], row["epsilon"]


def block(rows: Sequence[Row], setting: str, base: Mapping[str, Any]) -> dict[str, dict[Column, Row]]:
    """Cells of one setting and of the clean images: name of the network -> column -> row."""
    shown = [row for row in rows if row["setting"] in ("clean", setting)]
    return {
        network_name(matching(shown, model=model)[0], base): {
            column_of(row): row for row in matching(shown, model=model)
        }
        for model in distinct(shown, "model")
    }


def paper_block() -> dict[str, dict[Column, float]]:
    """The paper's accuracies: name of the network -> column -> value."""
    cells: dict[str, dict[Column, float]] = {}
    for row in paper_rows(1, SOURCE):
        _, _, neighbors = row["defense"].partition("retrieval_N")
        name = _retrieval_name(int(neighbors)) if neighbors else BASELINE
        cells.setdefault(name, {})[_PAPER_ATTACKS[row["setting"]], row["epsilon"]] = row["value"]
    return cells


def paper_value(row: Row, base: Mapping[str, Any]) -> float | None:
    """The paper's accuracy of the network of the same kind under the same attack; None where it has none."""
    name, _, _ = network_name(row, base).partition(" (")
    return paper_block().get(name, {}).get(column_of(row))


def linf_outcomes(predictions: Mapping[str, np.ndarray], row: Row) -> dict[LinfCell, np.ndarray]:
    """Correctness (n,) bool by cell, from the predictions of the network that `row` is of.

    predictions: `labels`, `rows`, and classes (n,) under `clean` or `SETTING/ATTACK/EPSILON`.
    """
    found = {}
    for name, classes in predictions.items():
        if name in ("labels", "rows"):
            continue
        setting, attack, epsilon = ("clean", *CLEAN) if name == "clean" else name.split("/")
        cell = LinfCell(row["model"], row["neighbors"], setting, attack, float(epsilon))
        found[cell] = classes == predictions["labels"]
    return found


def _retrieval_name(neighbors: int) -> str:
    return f"RA-CNN, N = {neighbors}"
