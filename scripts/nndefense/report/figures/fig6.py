"""Figure 6: attacks that know of the defence, by budget, by size and by overlap of the attack database."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from nndefense.core.errors import InputError
from nndefense.report.aware import by_attack, by_attack_size, by_attack_through, by_overlap, defense_rows
from nndefense.report.curves import (
    REFERENCE,
    Curve,
    draw_curves,
    fit_accuracy,
    looks_of,
    mark_budgets,
    mark_chance,
    tell_tested,
    undefended,
)
from nndefense.report.legends import handle, legend_below
from nndefense.report.names import Params, attack_name, thousands
from nndefense.report.piece import BANDS, BARE, VOTE, RowFigure
from nndefense.report.select import Row, Rows, distinct, matching, under_attack
from nndefense.report.style import MARKERS, draw_band, label_panels, new_figure, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Look = Mapping[str, Any]
TITLES = {
    "a": "The paper's white box",
    "b": "First images of the database",
    "c": "Overlap of the databases",
    "d": "Through the defence",
}
CLEAN: dict[str, Any] = {"color": "0.45", "linestyle": "--"}


def select_fig6(rows: Rows, params: Params) -> list[Row]:
    """Rows that the panels show, each once, and the model without a defence in the gray-box setting."""
    ours = defense_rows(rows, params)
    shown = [row for found in by_attack(ours, params).values() for row in found]
    shown += [row for found in by_attack_through(ours, params).values() for row in found]
    ablated = [*by_attack_size(ours, params), *by_overlap(ours, params)]
    settings = {(row["setting"], row["attack"], row["epsilon"]) for row in ablated}
    shown += [row for row in ours if (row["setting"], row["attack"], row["epsilon"]) in settings and row not in shown]
    if all(row["attack"] == params["attack"] for row in shown):
        raise InputError("figure 6: no row of a white-box attack with an attack database of the defence's pool")
    return [
        *matching(ours, setting="clean"),
        *shown,
        *under_attack(matching(rows, defense="none"), params, ["gray_box"]),
    ]


def draw_fig6(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_fig6`: one panel for each of a to d that has rows."""
    ours = matching(rows, defense="knn")
    clean, bare = matching(ours, setting="clean"), matching(rows, defense="none")
    sizes, overlaps = by_attack_size(ours, params), by_overlap(ours, params)
    parts: list[tuple[str, Any]] = [("a", by_attack(ours, params))]
    parts += [("b", sizes), ("c", overlaps), ("d", by_attack_through(ours, params))]
    parts = [(name, found) for name, found in parts if found]
    down = 2 if len(parts) > 3 else 1
    across = ceil(len(parts) / down)
    figure, panels = new_figure(3.5 * across + 0.4, 4.2 * down, across, down)
    looks = _ablation_looks([*sizes, *overlaps])
    for axes, (name, found) in zip(panels, parts, strict=True):
        if name in "ad":
            _draw_attacks(axes, found, clean, bare, params)
        else:
            _draw_ablation(axes, found, "attack_size" if name == "b" else "overlap", looks, clean, params)
        axes.set_title(f"({name}) {TITLES[name]}")
        axes.tick_params(labelleft=True)
    if sizes:
        _mark_sizes(panels[[name for name, _ in parts].index("b")], sizes)
    label_panels(panels, "Accuracy")
    fit_accuracy(panels[0], rows)
    tell_tested(figure, rows, f"defence with {ours[0]['pool']}-{thousands(ours[0]['size'])}")
    return figure


def _draw_attacks(axes: Axes, curves: Mapping[str, Rows], clean: Rows, bare: Rows, params: Params) -> None:
    looks = looks_of(list(curves))
    drawn = [Curve([*clean, *found], look=looks[attack]) for attack, found in curves.items()]
    draw_curves(axes, [undefended(bare), *drawn])
    mark_budgets(axes, {row["epsilon"] for found in curves.values() for row in found})
    handles = [handle(attack_name(attack, params), **look) for attack, look in looks.items()]
    known = [handle(f"no defence, {attack_name(params['attack'], params)}", **REFERENCE)]
    legend_below(axes, handles, [*known, *mark_chance([axes], params)])


def _ablation_looks(rows: Rows) -> tuple[dict[str, Look], dict[float, Look]]:
    """Marker and line by attack, colour by budget."""
    attacks, epsilons = distinct(rows, "attack"), sorted(distinct(rows, "epsilon"))
    by_attack: dict[str, Look] = {}
    for place, name in enumerate(attacks):
        dashes = {"linestyle": "--", "mfc": "white"} if place else {"linestyle": "-"}
        by_attack[name] = {"marker": MARKERS[place % len(MARKERS)], **dashes}
    colours = dict(zip(epsilons, shades(len(epsilons)), strict=True))
    return by_attack, {epsilon: {"color": colour} for epsilon, colour in colours.items()}


def _draw_ablation(
    axes: Axes,
    rows: Rows,
    column: str,
    looks: tuple[Mapping[str, Look], Mapping[float, Look]],
    clean: Rows,
    params: Params,
) -> None:
    by_attack, by_epsilon = looks
    for attack, style in by_attack.items():
        for epsilon, colour in by_epsilon.items():
            if line := matching(rows, attack=attack, epsilon=epsilon):
                draw_band(axes, line, column, **style, **colour)
    shown = [name for name in by_attack if matching(rows, attack=name)]
    attacks = [handle(attack_name(name, params), color="0.3", **by_attack[name]) for name in shown]
    budgets = [handle(f"Δ = {one:g}", **by_epsilon[one]) for one in by_epsilon if matching(rows, epsilon=one)]
    for row in clean:
        axes.axhline(row["accuracy"], **CLEAN)
        axes.axhspan(row["ci_low"], row["ci_high"], color=CLEAN["color"], alpha=0.12, linewidth=0)
        attacks.append(handle("clean", **CLEAN))
    legend_below(axes, attacks, [*budgets, *mark_chance([axes], params)])
    axes.set_xlabel("Overlap of attack and defence database" if column == "overlap" else "Attack database (images)")


def _mark_sizes(axes: Axes, rows: Rows) -> None:
    places = sorted(distinct(rows, "attack_size"))
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [thousands(place) for place in places])
    axes.minorticks_off()


PIECE = RowFigure(
    name="fig6",
    category="Figures",
    title="Attacks that know of the defence",
    varies="attack, attacker's database, budget Δ",
    shows="(a) the attacker has the defence's own database; (b) its first images only; (c) as many images, a share of "
    f"them in common; (d) attacks through the defence, on fewer images. {BARE} {BANDS}",
    paper="(a) PGD, PGD-PR and PGD-FS with IG-1B-Targeted; (b), (c) PGD-FS with databases of up to 500 million images "
    "against IG-500M-Targeted",
    source="nndefense.report.sources:aware",
    under="{attack} and attacks that know of the defence",
    settings=("white_box",),
    fixed=("features", "neighbors", *VOTE),
    chance=True,
    select=select_fig6,
    draw=draw_fig6,
)
