"""Accuracy against the l-infinity budget, a line per network: a row of panels per attack, a column per threat model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nndefense.report.curves import (
    REFERENCE,
    Curve,
    draw_curves,
    fit_accuracy,
    looks_of,
    mark_budgets,
    mark_chance,
    tell_tested,
)
from nndefense.report.legends import handle, legends_below
from nndefense.report.linf import PARTS, in_part, network_name, select_linf
from nndefense.report.names import Params, attack_name
from nndefense.report.piece import BANDS, RowFigure
from nndefense.report.select import Rows, distinct, matching
from nndefense.report.style import label_panels, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGET = "Largest change of a pixel ε"


def draw_fig_racnn(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_linf`: the baseline dotted, networks that retrieve more images darker."""
    baseline, *others = distinct(sorted(rows, key=lambda row: (row["defense"] != "none", row["neighbors"])), "defense")
    looks = {baseline: REFERENCE, **looks_of(others)}
    attacks = [attack for attack in params["linf"]["attacks"] if matching(rows, attack=attack)]
    size = 3.1 * len(PARTS), 2.4 * len(attacks) + 0.8
    figure, panels = new_figure(*size, len(PARTS), rows=len(attacks), sharex=True)
    for axes, (attack, part) in zip(panels, ((attack, part) for attack in attacks for part in PARTS), strict=True):
        shown = [*matching(rows, setting="clean"), *matching(in_part(rows, part), attack=attack)]
        # The baseline stands on top, where lines coincide.
        curves = [Curve(matching(shown, defense=name), look=look) for name, look in looks.items()]
        draw_curves(axes, curves[::-1])
        mark_budgets(axes, distinct(shown, "epsilon"))
        axes.set_title(f"{PARTS[part]}, {attack_name(attack, params)}")
    label_panels(panels, "Accuracy", BUDGET)
    fit_accuracy(panels[0], rows)
    tell_tested(figure, rows)
    # N is the size of a database wherever it stands on an axis or in a legend.
    names = {name: network_name(matching(rows, defense=name)[0], params, retrieved="K") for name in looks}
    handles = [handle(names[name], **look) for name, look in looks.items()]
    legends_below(figure, ("", [*handles, *mark_chance(panels, params)]), columns=2)
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
    chance=True,
    select=select_linf,
    draw=draw_fig_racnn,
)
