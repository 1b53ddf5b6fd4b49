"""Accuracy against the budget by encoder: nearest neighbours by features of one network, classes by another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nndefense.axes.cells import NO_DEFENSE
from nndefense.core.text import one_line
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.rows import AXES
from nndefense.evaluation.worst import WORST_CASE
from nndefense.report.curves import REFERENCE, looks_of, mark_budgets, mark_chance
from nndefense.report.legends import TEXT, handle, legends_below
from nndefense.report.names import Params
from nndefense.report.piece import BANDS, FIGURE, VOTE, Files, Made, Piece
from nndefense.report.select import Row, Rows, distinct, matching
from nndefense.report.style import draw_band, label_panels, new_figure, points
from nndefense.report.worst import deployed, read_worst

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Columns of a panel each, and what they are called.
PANELS = {"transfer": "Transfer: gradients of the classifiers", "accuracy": "Worst case: through encoder and votes"}


def select_encoders(rows: Rows, params: Params) -> list[Row]:
    """Worst cases of no defence, and of nearest neighbours by every encoder's layer, named by it."""
    layers: Mapping[str, str] = params["layers"]
    ours = [row for row in deployed(rows, params) if row["defense"] in (NO_DEFENSE, *layers)]
    return [{**row, "encoder": layers.get(row["defense"], "none")} for row in ours]


def draw_encoders(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_encoders`."""
    layers = [name for name in distinct(rows, "encoder") if name != "none"]
    looks = {"none": REFERENCE, **looks_of(layers)}
    figure, panels = new_figure(7.2, 3.5, len(PANELS))
    for axes, (column, title) in zip(panels, PANELS.items(), strict=True):
        for name in ("none", *layers):
            _draw(axes, matching(rows, encoder=name), column, looks[name])
        mark_budgets(axes, distinct(rows, "epsilon"), "Distance Δ")
        axes.tick_params(axis="x", labelrotation=60, labelsize=points(TEXT - 2))
        axes.set_title(title, fontsize=points(TEXT))
        axes.set_ylim(0, 1)
    label_panels(panels, "Accuracy")
    count = max(row["n"] for row in rows)
    handles = [handle(_label(name, params), **look) for name, look in looks.items() if matching(rows, encoder=name)]
    handles += mark_chance(panels, params)
    title = one_line(f"n = {count:,} test images, classes by {params['target']}")
    legends_below(figure, (title, handles), columns=3)
    return figure


def _label(name: str, params: Params) -> str:
    if name == "none":
        return "no defence"
    return one_line(f"neighbours by {params['encoders'][name]} ({name.rpartition('@')[2]})")


def _draw(axes: Axes, own: Rows, column: str, look: Mapping[str, Any]) -> None:
    if shown := [row for row in own if row[column] == row[column]]:
        draw_band(
            axes, [_at(shown[0], "clean", 0.0), *(_at(row, column, row["epsilon"]) for row in shown)], "epsilon", **look
        )


def _at(row: Row, column: str, epsilon: float) -> Row:
    """A row whose accuracy is that of a column, with its own interval."""
    low, high = wilson_interval(round(row[column] * row["n"]), row["n"])
    return {**row, "epsilon": epsilon, "accuracy": row[column], "ci_low": low, "ci_high": high}


@dataclass(frozen=True, kw_only=True)
class Encoders(Piece):
    """The figure."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        rows = select_encoders(read_worst(files["worst"]), params)
        return Made(rows, (*AXES, "encoder", *WORST_CASE.columns), figure=draw_encoders(rows, params))


PIECE = Encoders(
    name="fig_encoders",
    called="Figure: encoders",
    category="Figures",
    title="Accuracy by encoder, against the budget",
    varies="encoder, budget Δ",
    shows="Nearest neighbours by features of several networks; the votes are the classifier's softmax rows. "
    "Left: the strongest attack through the undefended target or surrogate. Right: images that hold against every "
    f"attack, those through encoder and votes included. {BANDS} Dotted: without a defence.",
    source="nndefense.report.sources:by_encoder",
    attack="",
    under="all attacks",
    settings=(),
    fixed=("features", "neighbors", *VOTE),
    uses=("pool",),
    chance=True,
)
