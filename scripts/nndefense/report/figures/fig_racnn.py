"""Accuracy against the l-infinity budget, a line per network: a row of panels per attack, a column per threat model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nndefense.report.curves import REFERENCE, TEXT, Curve, draw_curves, fit_accuracy, handle, looks_of, mark_budgets
from nndefense.report.linf import PARTS, in_part, network_name, select_linf
from nndefense.report.names import Params, attack_name
from nndefense.report.piece import BANDS, RowFigure
from nndefense.report.select import Rows, distinct, matching
from nndefense.report.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGET = "Largest change of a pixel ε"


def draw_fig_racnn(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_linf`: the baseline dotted, networks that retrieve more images darker."""
    baseline, *others = distinct(sorted(rows, key=lambda row: (row["defense"] != "none", row["neighbors"])), "defense")
    looks = {baseline: REFERENCE, **looks_of(others)}
    attacks = [attack for attack in params["linf"]["attacks"] if matching(rows, attack=attack)]
    size = 3.1 * len(PARTS), 2.4 * len(attacks) + 0.5
    figure, panels = new_figure(*size, len(PARTS), rows=len(attacks), sharex=True)
    for axes, (attack, part) in zip(panels, ((attack, part) for attack in attacks for part in PARTS), strict=True):
        shown = [*matching(rows, setting="clean"), *matching(in_part(rows, part), attack=attack)]
        # Markers at an accuracy of 0 stand whole on the axis; the baseline stands on top, where lines coincide.
        curves = [Curve(matching(shown, defense=name), look=look | {"clip_on": False}) for name, look in looks.items()]
        draw_curves(axes, curves[::-1])
        mark_budgets(axes, distinct(shown, "epsilon"), BUDGET if attack == attacks[-1] else "")
        axes.set_title(f"{PARTS[part]}, {attack_name(attack, params)}")
        if part == next(iter(PARTS)):
            axes.set_ylabel("Accuracy")
    fit_accuracy(panels[0], rows)
    handles = [handle(network_name(matching(rows, defense=name)[0], params), **look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), frameon=False, fontsize=TEXT)
    return figure


PIECE = RowFigure(
    name="fig_racnn",
    called="Figure of RA-CNN",
    category="Appendix",
    title="Networks under attacks within an l-infinity ball, against the budget",
    varies="network, attack, budget ε",
    shows="White box: gradients of the network itself; transfer: images attacked through the baseline (dotted). "
    f"{BANDS}",
    paper="Table 1 of Zhao, Li & Cho (SysML 2018), on SVHN",
    source="nndefense.report.sources:linf",
    attack="",
    under="attacks within an l-infinity ball",
    settings=("white_box", "gray_box"),
    select=select_linf,
    draw=draw_fig_racnn,
)
