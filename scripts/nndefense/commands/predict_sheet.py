"""A picture of predictions: each image with the class it is given, and the database images that say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nndefense.core.text import visible
from nndefense.report.style import STYLE, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = 1.2  # inches
LONGEST = 20  # letters that fit above an image
AGREES, DIFFERS = "0.1", "0.45"


@dataclass(frozen=True)
class Row:
    """One image of the picture.

    Attributes:
        name: of the image.
        image: (H, W, 3) uint8.
        label: the class it is given.
        verdict: how surely.
        neighbors: (n, H, W, 3) uint8, nearest first.
        labels: (n,) their classes.
        captions: (n,) what stands below them.
    """

    name: str
    image: np.ndarray
    label: str
    verdict: str
    neighbors: np.ndarray
    labels: Sequence[str]
    captions: Sequence[str]


def draw_sheet(rows: Sequence[Row]) -> Figure:
    """The images in the first column, framed, their neighbours beside them; bold: those of the class that is given."""
    plt = pyplot()
    columns = max(len(row.neighbors) for row in rows)
    ratios = [1, 0.16, *[1] * columns]
    height = (CELL + 0.42) * len(rows) + 0.45
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, grid = plt.subplots(
            len(rows),
            columns + 2,
            figsize=(CELL * sum(ratios) + 0.3, height),
            gridspec_kw={"width_ratios": ratios},
            squeeze=False,
        )
        for cells, row in zip(grid, rows, strict=True):
            for empty in (cells[1], *cells[2 + len(row.neighbors) :]):
                empty.set_axis_off()
            _show(cells[0], row.image, row.label, f"{_short(row.name, 24)}\n{row.verdict}", bold=True)
            cells[0].spines[:].set(visible=True, color="0.1", linewidth=1.2)
            for axes, image, label, below in zip(cells[2:], row.neighbors, row.labels, row.captions, strict=False):
                _show(axes, image, label, below, bold=label == row.label)
        figure.supxlabel(
            "Left: the image and the class it is given. Right: its nearest database images and their classes, bold "
            "where it is that one;\nw: confidence weight, d: distance in feature space.",
            fontsize=7.5,
            color="0.35",
        )
    return figure


def _show(axes: Axes, image: np.ndarray, name: str, below: str, bold: bool) -> None:
    # Few pixels are shown as they are; many are smoothed, because each is smaller than a dot.
    axes.imshow(image, interpolation="nearest" if max(image.shape[:2]) <= 64 else "antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    weight, color = ("bold", AGREES) if bold else ("normal", DIFFERS)
    axes.set_title(_short(name, LONGEST), fontsize=8, pad=3, fontweight=weight, color=color)
    axes.set_xlabel(below, fontsize=6.8, labelpad=2, color="0.3")


def _short(text: str, longest: int) -> str:
    text = visible(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
