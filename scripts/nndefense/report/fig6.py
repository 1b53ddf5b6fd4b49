"""Figure 6: attacks that know of the defence, by budget, by size and by overlap of the attack database."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nndefense.errors import InputError
from nndefense.report.curves import (
    REFERENCE,
    TEXT,
    Curve,
    draw_curves,
    fit_accuracy,
    handle,
    looks_of,
    mark_budgets,
    select_budgets,
    undefended,
)
from nndefense.report.names import attack_database, attack_name, thousands
from nndefense.report.select import Row, defended, distinct, main_pool, matching
from nndefense.report.style import draw_band, new_figure

AWARE = ("pgd_pr", "pgd_fs")
ABLATED = "pgd_fs"
CLEAN = {"color": "0.45", "linestyle": "--"}


def defence_rows(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Rows of the base defence on the attacked pool's largest database: clean, base attack, defence-aware attacks."""
    ours = defended(rows, base, "features", "neighbors", "weighting", "combination")
    ours = [row for row in ours if row["setting"] == "clean" or row["space"] == base["space"]]
    pools = {database.pool for row in ours if (database := attack_database(row["setting"]))}
    ours = [row for row in ours if row["pool"] in pools]
    if not ours:
        return []
    ours = matching(ours, pool=main_pool(ours))
    # Figure 6 holds the defence fixed: the largest database that an attacker has in full, else the largest of all.
    full = [row["size"] for row in ours if _reach(row) == (row["size"], 1.0)]
    return matching(ours, size=max(full or distinct(ours, "size")))


def _reach(row: Row) -> tuple[int, float] | None:
    """(size, overlap) of a row's attack database within its own pool; a prefix of the defence overlaps fully."""
    database = attack_database(row["setting"])
    if database is None or database.pool != row["pool"]:
        return None
    return database.size, 1.0 if database.overlap is None else database.overlap


def by_attack(ours: Sequence[Row], base: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Panel a: rows by attack; the defence-aware ones have the defence database itself."""
    curves = {base["attack"]: matching(ours, setting="gray_box", attack=base["attack"])}
    for attack in AWARE:
        found = [row for row in matching(ours, attack=attack) if _reach(row) == (row["size"], 1.0)]
        # An overlap of 1 is the defence database again.
        curves[attack] = list({row["epsilon"]: row for row in reversed(found)}.values())[::-1]
    return {attack: found for attack, found in curves.items() if found}


def by_size(ours: Sequence[Row]) -> list[Row]:
    """Panel b: PGD-FS rows with an `attack_size`, for budgets with more than one size."""
    found = [
        {**row, "attack_size": database.size}
        for row in matching(ours, attack=ABLATED)
        if (database := attack_database(row["setting"]))
        and (database.pool, database.overlap) == (row["pool"], None)
        and database.size <= row["size"]
    ]
    return with_curves(found, "attack_size")


def by_overlap(ours: Sequence[Row]) -> list[Row]:
    """Panel c: PGD-FS rows with an `overlap`, databases of one size, for budgets with more than one overlap."""
    found: dict[tuple[float, float], Row] = {}
    for row in matching(ours, attack=ABLATED):
        reach = _reach(row)
        if reach and reach[0] == row["size"]:
            # The defence database itself and an overlap of 1 are the same images: one of them is drawn.
            found.setdefault((row["epsilon"], reach[1]), {**row, "overlap": reach[1]})
    return with_curves(list(found.values()), "overlap")


def with_curves(rows: Sequence[Row], axis: str) -> list[Row]:
    """Rows of the budgets that have more than one value of `axis`: a single point would be no curve."""
    return [row for row in rows if len(distinct(matching(rows, epsilon=row["epsilon"]), axis)) > 1]


def select_fig6(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Rows that the three panels show, each once, and the model without a defence in the gray-box setting."""
    ours = defence_rows(rows, base)
    shown = [row for found in by_attack(ours, base).values() for row in found]
    settings = {(row["setting"], row["attack"], row["epsilon"]) for row in [*by_size(ours), *by_overlap(ours)]}
    shown += [row for row in ours if (row["setting"], row["attack"], row["epsilon"]) in settings and row not in shown]
    if not any(row["attack"] in AWARE for row in shown):
        raise InputError("figure 6: no row of a white-box attack with an attack database of the defence's pool")
    return [
        *matching(ours, setting="clean"),
        *shown,
        *select_budgets(matching(rows, defense="none"), base, ["gray_box"]),
    ]


def draw_fig6(rows: Sequence[Row], base: Mapping[str, Any]) -> Figure:
    """Draw the rows of `select_fig6`: one panel for each of a, b, c that has rows."""
    ours = matching(rows, defense="knn")
    clean = matching(ours, setting="clean")
    sizes, overlaps = by_size(ours), by_overlap(ours)
    parts = [("a", by_attack(ours, base)), ("b", sizes), ("c", overlaps)]
    parts = [(name, found) for name, found in parts if found]
    figure, panels = new_figure(3.1 * len(parts) + 0.4, 4.2, len(parts))
    looks = looks_of(sorted(distinct([*sizes, *overlaps], "epsilon")))
    size = clean[0]["size"] if clean else ours[0]["size"]
    for axes, (name, found) in zip(panels, parts, strict=True):
        if name == "a":
            _draw_attacks(axes, found, clean, matching(rows, defense="none"))
        else:
            column = "attack_size" if name == "b" else "overlap"
            _draw_ablation(axes, found, column, looks, clean)
        axes.set_title(f"({name}) " + ("White box" if name == "a" else attack_name(ABLATED)))
    if sizes:
        _mark_sizes(panels[[name for name, _ in parts].index("b")], sizes)
    panels[0].set_ylabel(f"Accuracy, defence with {ours[0]['pool']}-{thousands(size)}")
    fit_accuracy(panels[0], rows)
    return figure


def _draw_attacks(axes: Axes, curves: Mapping[str, Sequence[Row]], clean: Sequence[Row], bare: Sequence[Row]) -> None:
    looks = looks_of(list(curves))
    drawn = [Curve([*clean, *found], look=looks[attack]) for attack, found in curves.items()]
    draw_curves(axes, [undefended(bare), *drawn])
    mark_budgets(axes, {row["epsilon"] for found in curves.values() for row in found})
    handles = [handle(attack_name(attack), **look) for attack, look in looks.items()]
    _legend_below(axes, [*handles, handle("no defence, " + attack_name(next(iter(curves))), **REFERENCE)])


def _draw_ablation(
    axes: Axes, rows: Sequence[Row], column: str, looks: Mapping[float, Mapping[str, Any]], clean: Sequence[Row]
) -> None:
    for epsilon, look in looks.items():
        if line := matching(rows, epsilon=epsilon):
            draw_band(axes, line, column, **look)
    handles = [handle(f"Δ = {epsilon:g}", **look) for epsilon, look in looks.items()]
    for row in clean:
        axes.axhline(row["accuracy"], **CLEAN)
        axes.axhspan(row["ci_low"], row["ci_high"], color=CLEAN["color"], alpha=0.12, linewidth=0)
        handles.append(handle("clean", **CLEAN))
    _legend_below(axes, handles)
    axes.set_xlabel("Overlap of attack and defence database" if column == "overlap" else "Attack database (images)")


def _mark_sizes(axes: Axes, rows: Sequence[Row]) -> None:
    places = sorted(distinct(rows, "attack_size"))
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [thousands(place) for place in places])
    axes.minorticks_off()


def _legend_below(axes: Axes, handles: Sequence[Any]) -> None:
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False, fontsize=TEXT)
