"""Accuracy against the l-infinity budget, a line per network: a row of panels per attack, a column per setting."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from nndefense.report.curves import REFERENCE, Curve, draw_curves, fit_accuracy, handle, looks_of
from nndefense.report.linf import SETTINGS, network_name
from nndefense.report.names import attack_name
from nndefense.report.select import Row, distinct, matching
from nndefense.report.style import STYLE, new_figure

BUDGET = "Largest change of a pixel ε"


def draw_fig_racnn(rows: Sequence[Row], base: Mapping[str, Any]) -> Figure:
    """Draw the rows of `select_linf`: the baseline dotted, networks that retrieve more images darker."""
    models = distinct(sorted(rows, key=lambda row: row["neighbors"]), "model")
    looks = {base["baseline"]: REFERENCE, **looks_of([model for model in models if model != base["baseline"]])}
    attacks = [attack for attack in distinct(rows, "attack") if attack != "none"]
    size = 3.1 * len(SETTINGS), 2.4 * len(attacks) + 0.5
    figure, panels = new_figure(*size, len(SETTINGS), rows=len(attacks), sharex=True)
    cells = [(attack, setting) for attack in attacks for setting in SETTINGS]
    for axes, (attack, setting) in zip(panels, cells, strict=True):
        shown = [*matching(rows, setting="clean"), *matching(rows, setting=setting, attack=attack)]
        # Markers at an accuracy of 0 stand whole on the axis; the baseline stands on top, where lines coincide.
        curves = [Curve(matching(shown, model=model), look=look | {"clip_on": False}) for model, look in looks.items()]
        draw_curves(axes, curves[::-1])
        places = sorted(set(distinct(shown, "epsilon")))
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_title(f"{SETTINGS[setting]}, {attack_name(attack)}")
        if setting == next(iter(SETTINGS)):
            axes.set_ylabel("Accuracy")
        if attack == attacks[-1]:
            axes.set_xlabel(BUDGET)
    fit_accuracy(panels[0], rows)
    handles = [handle(network_name(matching(rows, model=model)[0], base), **look) for model, look in looks.items()]
    columns = min(3, len(handles))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=STYLE["font.size"]
    )
    return figure
