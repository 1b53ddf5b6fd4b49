"""Figures 5, 9 and 10: accuracy against database size N, a line per budget, for attacks in two settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nndefense.errors import InputError
from nndefense.report.curves import add_legend, looks_of
from nndefense.report.names import SETTING_NAMES, attack_name, thousands
from nndefense.report.select import Row, defended, distinct, matching, with_clean
from nndefense.report.style import draw_band, new_figure

DASHES = ("-", "--", ":", "-.")


def select_fig5(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Rows that the figure shows: pools of several sizes at the base values, and the model without a defence."""
    attack = {"attack": base["attack"], "space": base["space"]}
    ours = with_clean(defended(rows, base, "features", "neighbors", "weighting", "combination"), **attack)
    ours = [row for row in ours if len(distinct(matching(ours, pool=row["pool"]), "size")) > 1]
    if not ours:
        raise InputError("figure 5: no pool has more than one size")
    if all(row["setting"] == "clean" for row in ours):
        raise InputError(f"figure 5: no row of the defence under {base['attack']}")
    return [*ours, *with_clean(matching(rows, defense="none"), **attack)]


def draw_fig5(rows: Sequence[Row], base: Mapping[str, Any]) -> Figure:
    """Draw the rows of `select_fig5`: one panel per setting; the clean images are epsilon 0 in each."""
    settings = [name for name in distinct(rows, "setting") if name != "clean"]
    epsilons = sorted(distinct(rows, "epsilon"))
    pools = pool_order(rows)
    figure, panels = new_figure(3.1 * len(settings) + 1.3, 3.3, len(settings))
    looks = looks_of(epsilons)
    for axes, setting in zip(panels, settings, strict=True):
        shown = [row for row in rows if row["setting"] in ("clean", setting)]
        draw_panel(axes, shown, pools, looks)
        axes.set_title(SETTING_NAMES[setting])
        axes.set_xlabel("Database size N (images)")
    panels[0].set_ylabel("Accuracy")
    top = max(row["ci_high"] for row in rows)
    panels[0].set_ylim(0, min(1.0, 1.05 * top))
    handles = [Line2D([], [], **look, label=f"Δ = {epsilon:g}") for epsilon, look in looks.items()]
    handles += [Line2D([], [], color="0.3", linestyle=pools[pool], label=pool) for pool in pools]
    add_legend(figure, handles, attack_name(base["attack"]))
    return figure


def pool_order(rows: Sequence[Row]) -> dict[str, str]:
    """Line style by pool: the last configured is solid (Targeted), the one before dashed (All)."""
    pools = [pool for pool in distinct(rows, "pool") if pool != "none"]
    return dict(zip(reversed(pools), DASHES * len(pools), strict=False))


def draw_panel(
    axes: Axes, rows: Sequence[Row], pools: Mapping[str, str], looks: Mapping[float, Mapping[str, Any]]
) -> None:
    """Lines of one setting, and at the left edge the model without a defence."""
    sizes = sorted({row["size"] for row in rows if row["defense"] == "knn"})
    span = sizes[-1] / sizes[0]
    left = sizes[0] / span**0.2
    for number, (epsilon, look) in enumerate(looks.items()):
        # Side by side, so that equal accuracies stay visible.
        place = left * span ** (0.018 * (number - (len(looks) - 1) / 2))
        at_budget = matching(rows, epsilon=epsilon)
        for pool, dashes in pools.items():
            if line := matching(at_budget, pool=pool):
                draw_band(axes, line, "size", linestyle=dashes, **look)
        for row in matching(at_budget, defense="none"):
            reach = [[row["accuracy"] - row["ci_low"]], [row["ci_high"] - row["accuracy"]]]
            axes.errorbar([place], [row["accuracy"]], yerr=reach, mfc="white", capsize=2, linestyle="", **look)
    axes.set_xscale("log", base=2)
    axes.set_xticks([left, *sizes], ["no\ndefence", *map(thousands, sizes)])
    axes.minorticks_off()
    axes.axvline(sizes[0] / span**0.08, color="0.8", linewidth=0.8)
