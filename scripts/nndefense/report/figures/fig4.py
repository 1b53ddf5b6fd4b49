"""Figures 4, 11 and 12: accuracy against the budget, a line per feature layer, in two settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nndefense.core.errors import InputError
from nndefense.report.curves import Curve, draw_by_budget, looks_of
from nndefense.report.legends import handle
from nndefense.report.names import BOTH, Params
from nndefense.report.piece import BANDS, BARE, VOTE, RowFigure
from nndefense.report.select import Row, Rows, by_layer, distinct, layer_depth, matching, under_attack

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def select_fig4(rows: Rows, params: Params) -> list[Row]:
    """Rows that the figure shows: all layers in the largest database, and the model without a defence."""
    ours = by_layer(rows, params)
    if not ours:
        raise InputError(f"figure 4: no row of the defence under {params['attack']}")
    return [*ours, *under_attack(matching(rows, defense="none"), params, BOTH)]


def draw_fig4(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_fig4`: later layers are darker."""
    ours = matching(rows, defense="knn")
    looks = looks_of(sorted(distinct(ours, "features"), key=layer_depth))

    def curves(shown: Rows) -> list[Curve]:
        return [Curve(matching(shown, features=layer), look=look) for layer, look in looks.items()]

    return draw_by_budget(rows, params, curves, [handle(layer, **look) for layer, look in looks.items()])


PAPER = "{}, four layers of a ResNet-50, CBW-D; IG-1B-Targeted"
PIECE = RowFigure(
    name="fig4",
    category="Figures",
    title="Accuracy by feature layer, against the budget",
    varies="layer, budget Δ",
    shows=f"A line per layer that neighbours are compared by; the later a layer, the darker. {BARE} {BANDS}",
    paper=PAPER.format("PGD"),
    source="nndefense.report.sources:layers",
    fixed=("neighbors", *VOTE),
    uses=("pool",),
    chance=True,
    select=select_fig4,
    draw=draw_fig4,
)
FGSM = replace(PIECE, name="fig11", category="Appendix", attack="fgsm", paper=PAPER.format("FGSM"))
CW = replace(PIECE, name="fig12", category="Appendix", attack="cw", paper=PAPER.format("CW-L2"))
