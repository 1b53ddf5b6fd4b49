"""Figures 3, 7 and 8: accuracy against the budget, a line per number of neighbours K and size, black box."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nndefense.core.errors import InputError
from nndefense.report.curves import Curve, draw_by_budget, looks_of
from nndefense.report.legends import handle
from nndefense.report.names import Params, thousands
from nndefense.report.piece import BANDS, BARE, VOTE, RowFigure
from nndefense.report.select import Row, Rows, by_neighbors, distinct, matching, under_attack

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def select_fig3(rows: Rows, params: Params) -> list[Row]:
    """Rows that the figure shows: all K in the two databases, and the model without a defence."""
    ours = by_neighbors(rows, params)
    if not ours:
        raise InputError(f"figure 3: no row of the defence under {params['attack']} in the black-box setting")
    return [*ours, *under_attack(matching(rows, defense="none"), params, ["black_box"])]


def draw_fig3(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_fig3`: the larger database solid, the smaller one dashed."""
    ours = matching(rows, defense="knn")
    sizes = sorted(distinct(ours, "size"), reverse=True)
    # Hollow markers, so that the databases can be told apart where dashes are short.
    styles = dict(zip(sizes, ({"linestyle": "-"}, {"linestyle": "--", "mfc": "white"}), strict=False))
    looks = looks_of(sorted(distinct(ours, "neighbors")))

    def curves(shown: Rows) -> list[Curve]:
        return [
            Curve(matching(shown, neighbors=k, size=size), look=look | styles[size])
            for size in reversed(sizes)
            for k, look in looks.items()
        ]

    handles = [handle(f"K = {k}", **look) for k, look in looks.items()]
    pool = params["pool"]
    databases = [handle(f"{pool}-{thousands(size)}", color="0.3", marker="o", **styles[size]) for size in sizes]
    return draw_by_budget(rows, params, curves, handles, ("Database", databases))


PAPER = "{}, black box, conv_5_1, CBW-D; IG-1B-Targeted (solid lines), IG-100M-Targeted (dashed lines)"
PIECE = RowFigure(
    name="fig3",
    category="Figures",
    title="Accuracy by number of neighbours K and database size, against the budget",
    varies="K, N, budget Δ",
    shows=f"A line per number of neighbours K; solid: the larger database, dashed: the smaller one. {BARE} {BANDS}",
    paper=PAPER.format("PGD"),
    source="nndefense.report.sources:neighbors",
    settings=("black_box",),
    fixed=("features", *VOTE),
    uses=("pool",),
    chance=True,
    select=select_fig3,
    draw=draw_fig3,
)
FGSM = replace(PIECE, name="fig7", category="Appendix", attack="fgsm", paper=PAPER.format("FGSM"))
CW = replace(PIECE, name="fig8", category="Appendix", attack="cw", paper=PAPER.format("CW-L2"))
