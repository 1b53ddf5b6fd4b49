"""Every configured attack that does not know of the defence: accuracy against the budget, a line per attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nndefense.core.errors import InputError
from nndefense.report.curves import (
    BUDGET,
    Curve,
    draw_curves,
    fit_accuracy,
    looks_of,
    mark_budgets,
    mark_chance,
    tell_tested,
)
from nndefense.report.legends import add_legend, handle
from nndefense.report.names import BOTH, SETTING_NAMES, Params, attack_name, thousands
from nndefense.report.piece import BANDS, VOTE, RowFigure
from nndefense.report.select import Row, Rows, defended, distinct, largest, matching
from nndefense.report.style import label_panels, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def select_attacks(rows: Rows, params: Params) -> list[Row]:
    """Rows that the figure shows: no defence, and the base defence with its largest database, under every attack."""
    ours = defended(rows, params, "pool", "features", "neighbors", "weighting", "combination")
    found = [*_attacked(matching(rows, defense="none"), params), *largest(_attacked(ours, params))]
    if not any(row["defense"] == "knn" and row["setting"] != "clean" for row in found):
        raise InputError("figure attacks: no attacked row of the defence")
    return found


def _attacked(rows: Rows, params: Params) -> list[Row]:
    attacked = [row for row in rows if row["attack"] in params["attacks"] and row["space"] == params["space"]]
    return [*matching(rows, setting="clean"), *(row for row in attacked if row["setting"] in BOTH)]


def draw_attacks(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_attacks`: a row of panels per setting, one for each defence."""
    settings = [name for name in distinct(rows, "setting") if name != "clean"]
    defenses = distinct(rows, "defense")
    looks = looks_of([name for name in params["attacks"] if matching(rows, attack=name)])
    size = 3.1 * len(defenses) + 1.2, 2.6 * len(settings) + 0.5
    figure, panels = new_figure(*size, len(defenses), rows=len(settings), sharex=True)
    cells = [(setting, defense) for setting in settings for defense in defenses]
    for axes, (setting, defense) in zip(panels, cells, strict=True):
        ours = matching(rows, defense=defense)
        curves = {
            attack: [*matching(ours, setting="clean"), *matching(ours, setting=setting, attack=attack)]
            for attack in looks
        }
        draw_curves(axes, [Curve(found, look=looks[attack]) for attack, found in curves.items()])
        mark_budgets(axes, distinct(ours, "epsilon"))
        axes.set_title(f"{_title(ours[0])}, {SETTING_NAMES[setting].lower()}")
    label_panels(panels, "Accuracy", BUDGET)
    fit_accuracy(panels[0], rows)
    tell_tested(figure, rows)
    handles = [handle(attack_name(name, params), **look) for name, look in looks.items()]
    add_legend(figure, [*handles, *mark_chance(panels, params)], "Attack")
    return figure


def _title(row: Row) -> str:
    return "No defence" if row["pool"] == "none" else f"{row['pool']}-{thousands(row['size'])}"


PIECE = RowFigure(
    name="attacks",
    called="Attacks",
    category="Figures",
    title="Accuracy under every attack that does not know of the defence, against the budget",
    varies="attack, defence, budget Δ",
    shows=f"A panel per defence and threat model, a line per attack; left: without a defence. {BANDS}",
    source="nndefense.report.sources:attacks",
    under="every attack that does not know of the defence",
    fixed=("features", "neighbors", *VOTE),
    uses=("pool",),
    chance=True,
    select=select_attacks,
    draw=draw_attacks,
)
