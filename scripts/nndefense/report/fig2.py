"""Figure 2: one test image, clean and perturbed, and its nearest database images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nndefense.errors import InputError
from nndefense.report.names import attack_name, setting_name
from nndefense.report.style import STYLE

COLUMNS = (
    "queries",
    "epsilon",
    "label",
    "predicted",
    "rank",
    "database_row",
    "neighbor_predicted",
    "weight",
    "distance",
)
CELL = 1.18  # inches
LONGEST = 17  # letters of a class name that fit above an image


@dataclass(frozen=True)
class Neighborhood:
    """One row of the figure.

    Attributes:
        name: of the row. image: (H, W, 3), uint8 or [0, 1]. predicted: class the model gives it.
        neighbors: (k, H, W, 3), nearest first. classes: (k,) classes the model gives them.
        weights: (k,) their confidence weights. distances: (k,) from the query in feature space.
    """

    name: str
    image: np.ndarray
    predicted: str
    neighbors: np.ndarray
    classes: Sequence[str]
    weights: Sequence[float]
    distances: Sequence[float]


def choose_query(labels: np.ndarray, predicted: Sequence[np.ndarray]) -> int:
    """The first image that the model gets right in the first query set and wrong in the last; else the first right.

    labels: (n,); predicted: one (n,) per query set, clean first. 0 if the model is never right.
    """
    right = predicted[0] == labels
    fooled = right & (predicted[-1] != labels)
    return int(np.argmax(fooled if fooled.any() else right))


def query_title(axes: Mapping[str, Any]) -> str:
    """Name of a row from the query set's axes: Clean, or PGD, gray box, Δ = 0.04 on three lines."""
    if axes["setting"] == "clean":
        return "Clean"
    return f"{attack_name(axes['attack'])}\n{setting_name(axes['setting']).lower()}\nΔ = {axes['epsilon']:g}"


def draw_fig2(rows: Sequence[Neighborhood], true_class: str, weighting: str) -> Figure:
    """The query in the first column, its neighbours beside it; bold: the true class.

    Raises InputError if the rows have different numbers of neighbours, or none.
    """
    counts = {len(row.neighbors) for row in rows}
    if len(counts) != 1 or 0 in counts:
        raise InputError(f"figure 2: every row needs the same number of neighbours, got {sorted(counts)}")
    columns = counts.pop()
    ratios = [1, 0.12, *[1] * columns]
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, grid = plt.subplots(
            len(rows),
            columns + 2,
            figsize=(CELL * sum(ratios) + 0.7, (CELL + 0.38) * len(rows) + 0.45),
            gridspec_kw={"width_ratios": ratios},
            squeeze=False,
        )
        for cells, row in zip(grid, rows, strict=True):
            cells[1].set_axis_off()
            _show(cells[0], row.image, row.predicted, true_class, "")
            cells[0].set_ylabel(row.name, fontsize=8.5)
            for place, axes in enumerate(cells[2:]):
                below = f"w {row.weights[place]:#.3g}   d {row.distances[place]:.2f}"
                _show(axes, row.neighbors[place], row.classes[place], true_class, below)
        figure.supxlabel(
            f"Left: the query, whose true class is {true_class}. Above an image: the class the model gives it, "
            f"bold if it is the true one.\nBelow a database image: w, its confidence weight ({weighting}); "
            "d, its distance from the query in feature space.",
            fontsize=8,
        )
    return figure


def sheet_rows(
    rows: Sequence[Neighborhood], axes: Sequence[Mapping[str, Any]], ids: np.ndarray, true_class: str
) -> list[dict[str, Any]]:
    """The figure as rows of COLUMNS. axes: of the query sets; ids: (rows, k) database rows of the neighbours."""
    return [
        {
            "queries": " ".join(query_title(about).split("\n")),
            "epsilon": about["epsilon"],
            "label": true_class,
            "predicted": row.predicted,
            "rank": rank,
            "database_row": int(ids[number, rank - 1]),
            "neighbor_predicted": row.classes[rank - 1],
            "weight": float(row.weights[rank - 1]),
            "distance": float(row.distances[rank - 1]),
        }
        for number, (row, about) in enumerate(zip(rows, axes, strict=True))
        for rank in range(1, len(row.classes) + 1)
    ]


def _show(axes: Axes, image: np.ndarray, name: str, true_class: str, below: str) -> None:
    # Few pixels are shown as they are; many are smoothed, because each is smaller than a dot.
    axes.imshow(image, interpolation="nearest" if max(image.shape[:2]) <= 64 else "antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    axes.set_title(short, fontsize=8, pad=3, fontweight="bold" if name == true_class else "normal")
    axes.set_xlabel(below, fontsize=7, labelpad=2)
