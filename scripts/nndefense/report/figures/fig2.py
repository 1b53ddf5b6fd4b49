"""Figure 2: one test image, clean and perturbed, and its nearest database images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.core.errors import InputError
from nndefense.report.illustration import (
    base_vote,
    choose_query,
    query_title,
    read_scene,
    shortened,
    shown_image,
    weights_of,
)
from nndefense.report.names import Params
from nndefense.report.piece import FIGURE, VOTE, Files, Made, Piece
from nndefense.report.style import COLUMN, is_narrow, points, pyplot, style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nndefense.report.illustration import Scene

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
CELL, NAME = 1.18, 0.6  # inches of an image, and width of a row's name in images
COUNT, FEWER = 5, 3  # neighbours shown, and in a column


@dataclass(frozen=True)
class Neighborhood:
    """One row of the figure.

    Attributes:
        name: of the row. epsilon: of its query set.
        image: (H, W, 3), uint8 or [0, 1]. predicted: class the model gives it.
        ids: (k,) database rows, nearest first. neighbors: (k, H, W, 3).
        classes: (k,) classes the model gives them. weights: (k,) their confidence weights.
        distances: (k,) from the query in feature space.
        vote: class that the defence gives the image. share: of that class.
    """

    name: str
    epsilon: float
    image: np.ndarray
    predicted: str
    ids: Sequence[int]
    neighbors: np.ndarray
    classes: Sequence[str]
    weights: Sequence[float]
    distances: Sequence[float]
    vote: str
    share: float


def neighborhoods(scene: Scene, place: int, params: Params) -> list[Neighborhood]:
    """A row per query set of the image at a place; as many neighbours as all of them have."""
    found, count = [], min(COUNT, *(int((one.ids[place] >= 0).sum()) for one in scene.shown))
    for one in scene.shown:
        ids = one.ids[place, :count]
        softmax, weights = weights_of(scene.store, ids, params["weighting"])
        _, shares = base_vote(scene.store, one.ids[place], params)
        found.append(
            Neighborhood(
                name=query_title(one.queries, params),
                epsilon=one.queries.epsilon,
                image=one.image(place),
                predicted=scene.class_names[one.predicted[place]],
                ids=ids.tolist(),
                neighbors=scene.database.read(ids).images,
                classes=[scene.class_names[number] for number in softmax.argmax(1)],
                weights=weights.tolist(),
                distances=one.distances[place, :count].tolist(),
                vote=scene.class_names[int(shares.argmax())],
                share=float(shares.max()),
            )
        )
    return found


def draw(rows: Sequence[Neighborhood], true_class: str, params: Params) -> Figure:
    """The query in the first column, its neighbours beside it, what all K vote for in the last; bold: the true class.

    Raises InputError if the rows have different numbers of neighbours, or none.
    """
    counts = {len(row.neighbors) for row in rows}
    if len(counts) != 1 or 0 in counts:
        raise InputError(f"figure 2: every row needs the same number of neighbours, got {sorted(counts)}")
    columns = min(counts.pop(), FEWER if is_narrow() else COUNT)
    ratios = [1, 0.12, *[1] * columns, 0.85]
    width = COLUMN if is_narrow() else CELL * (sum(ratios) + NAME)
    size = width, (width / (sum(ratios) + NAME) + 0.38) * len(rows) + 0.45
    plt = pyplot()
    with plt.rc_context(style(**{"axes.grid": False})):
        figure, grid = plt.subplots(
            len(rows),
            len(ratios),
            figsize=size,
            gridspec_kw={"width_ratios": ratios},
            squeeze=False,
        )
        for cells, row in zip(grid, rows, strict=True):
            cells[1].set_axis_off()
            _show(cells[0], row.image, row.predicted, true_class, "")
            cells[0].set_ylabel(row.name, fontsize=points(8.5))
            for place, axes in enumerate(cells[2:-1]):
                below = wrapped(f"w {row.weights[place]:#.3g}   d {row.distances[place]:.2f}", 8)
                _show(axes, row.neighbors[place], row.classes[place], true_class, below)
            _show_vote(cells[-1], row, true_class)
        words = (
            f"Left: the query, whose true class is {true_class}. Above an image: the class the model gives it, "
            f"bold if it is the true one.\nBelow a database image: w, its confidence weight ({params['weighting']}); "
            "d, its distance from the query in feature space.\nRight: the class that the "
            f"{params['neighbors']} nearest images vote for ({params['combination']} combination), and its share."
        )
        figure.supxlabel(wrapped(words, 66), fontsize=points(8))
    return figure


def sheet_rows(rows: Sequence[Neighborhood], true_class: str) -> list[dict[str, Any]]:
    """The figure as rows of COLUMNS."""
    return [
        {
            "queries": " ".join(row.name.split("\n")),
            "epsilon": row.epsilon,
            "label": true_class,
            "predicted": row.predicted,
            "rank": rank,
            "database_row": row.ids[rank - 1],
            "neighbor_predicted": row.classes[rank - 1],
            "weight": float(row.weights[rank - 1]),
            "distance": float(row.distances[rank - 1]),
        }
        for row in rows
        for rank in range(1, len(row.classes) + 1)
    ]


def _show(axes: Axes, image: np.ndarray, name: str, true_class: str, below: str) -> None:
    shown_image(axes, image)
    axes.set_title(shortened(name), fontsize=points(8), pad=3, fontweight="bold" if name == true_class else "normal")
    axes.set_xlabel(below, fontsize=points(7), labelpad=2)


def _show_vote(axes: Axes, row: Neighborhood, true_class: str) -> None:
    axes.set_axis_off()
    look: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "fontsize": points(8)}
    axes.text(0.5, 0.66, "the vote", color="0.35", va="bottom", **look)
    axes.text(
        0.5, 0.5, shortened(row.vote), va="center", fontweight="bold" if row.vote == true_class else "normal", **look
    )
    axes.text(0.5, 0.34, f"{row.share:.2f}", va="top", **look)


@dataclass(frozen=True, kw_only=True)
class NeighborsFigure(Piece):
    """A figure of images and their neighbours."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        scene = read_scene(files, params)
        place = choose_query(scene.labels, [one.predicted for one in scene.shown])
        true_class = scene.class_names[scene.labels[place]]
        rows = neighborhoods(scene, place, params)
        return Made(sheet_rows(rows, true_class), COLUMNS, figure=draw(rows, true_class, params))


PIECE = NeighborsFigure(
    name="fig2",
    category="Figures",
    title="A test image, clean and attacked, and its nearest database images",
    varies="budget Δ",
    shows="Left the query, beside it its nearest database images, each below the class that the model gives it (bold: "
    "the true class) and above its confidence weight w and its distance d; right the class that all K neighbours vote "
    "for, and its share. One image, the first whose class the "
    "largest budget changes, if there is one: an illustration, no evidence.",
    paper="five neighbours in YFCC-100M by conv_5_1 features, clean and under PGD with Δ = 0.04 and 0.08",
    source="nndefense.report.sources:illustration",
    single=True,
    fixed=("features", "neighbors", *VOTE),
)
