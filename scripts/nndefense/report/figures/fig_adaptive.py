"""Accuracy against the budget, a panel per defence: what transfer attacks leave, and what the worst case leaves."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from nndefense.axes.cells import NO_DEFENSE
from nndefense.evaluation.rows import AXES
from nndefense.evaluation.worst import WORST_CASE
from nndefense.report.curves import mark_budgets, mark_chance, tell_tested
from nndefense.report.grid import row_name
from nndefense.report.legends import TEXT, handle, legends_below
from nndefense.report.names import Params
from nndefense.report.piece import BANDS, FIGURE, VOTE, Files, Made, Piece
from nndefense.report.select import Row, Rows, distinct, matching
from nndefense.report.style import draw_band, label_panels, new_figure, points, shades, wrapped
from nndefense.report.worst import deployed, read_worst

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 4
BARE = {"color": "0.45", "marker": "x", "linestyle": ":"}


def select_adaptive(rows: Rows, params: Params) -> list[Row]:
    """Worst cases of the attacked systems."""
    return deployed(rows, params)


def draw_adaptive(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_adaptive`."""
    bare = matching(rows, defense=NO_DEFENSE)
    names = [name for name in distinct(rows, "defense") if name != NO_DEFENSE] or [NO_DEFENSE]
    across = min(PANELS, len(names))
    down = ceil(len(names) / across)
    size = 2.35 * across + 0.6, 2.35 * down + 0.9
    figure, panels = new_figure(*size, across, down, count=len(names), sharex=True)
    for axes, name in zip(panels, names, strict=True):
        _draw_panel(axes, matching(rows, defense=name), bare if name != NO_DEFENSE else [], params)
        axes.set_ylim(0, 1)
        # Budgets are often close to each other.
        axes.tick_params(axis="x", labelrotation=60, labelsize=points(TEXT - 2))
    label_panels(panels, "Accuracy", "Distance Δ")
    tell_tested(figure, rows)
    transfer, worst = looks()
    labels = [("transfer", transfer), ("worst case", worst), ("no defence, worst case", BARE)]
    handles = [handle(label, **look) for label, look in labels if look is not BARE or bare]
    handles += mark_chance(panels, params)
    legends_below(figure, ("", handles), columns=across)
    return figure


def looks() -> tuple[dict[str, Any], dict[str, Any]]:
    """How the lines of transfer and of the worst case look."""
    light, *_, dark = shades(3)
    return {"color": light, "marker": "s", "linestyle": "--"}, {"color": dark, "marker": "o"}


def _draw_panel(axes: Axes, own: Rows, bare: Rows, params: Params) -> None:
    look_transfer, look_worst = looks()
    if bare:
        draw_band(axes, _curve(bare, "accuracy"), "epsilon", opacity=0, **BARE)
    transfer = [row for row in own if row["transfer"] == row["transfer"]]
    if transfer:
        draw_band(axes, _curve(transfer, "transfer"), "epsilon", opacity=0, **look_transfer)
    draw_band(axes, _curve(own, "accuracy"), "epsilon", **look_worst)
    mark_budgets(axes, distinct(own, "epsilon"))
    axes.set_title(wrapped(row_name(own[0], params)), fontsize=points(TEXT))


def _curve(own: Rows, column: str) -> list[Row]:
    """Rows whose accuracy is that of a column, and the clean images as a budget of 0."""
    first = own[0]
    clean = {**first, "epsilon": 0.0, "accuracy": first["clean"], "ci_low": first["clean"], "ci_high": first["clean"]}
    return [clean, *({**row, "accuracy": row[column]} for row in own)]


@dataclass(frozen=True, kw_only=True)
class Adaptive(Piece):
    """The figure."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        rows = select_adaptive(read_worst(files["worst"]), params)
        return Made(rows, (*AXES, *WORST_CASE.columns), figure=draw_adaptive(rows, params))


PIECE = Adaptive(
    name="fig_adaptive",
    called="Figure: worst case",
    category="Figures",
    title="Transfer attacks and the worst case, by budget",
    varies="defence, budget Δ",
    shows="A panel per defence. Dashed: the strongest attack through the undefended target or surrogate (transfer). "
    f"Solid: images that hold against every attack, those through the defence included. {BANDS}",
    source="nndefense.report.sources:worst_case",
    attack="",
    under="all attacks",
    settings=(),
    fixed=("features", "neighbors", *VOTE),
    uses=("pool",),
    chance=True,
)
