"""Figures 5, 9 and 10: accuracy against database size N, a line per budget, for attacks in two settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nndefense.core.errors import InputError
from nndefense.report.curves import fit_accuracy, looks_of, mark_chance, tell_tested
from nndefense.report.legends import add_legend, handle
from nndefense.report.names import SETTING_NAMES, Params, attack_name, thousands
from nndefense.report.piece import BANDS, VOTE, RowFigure
from nndefense.report.select import Row, Rows, by_size, defended, distinct, matching, swept_pools, with_clean
from nndefense.report.style import draw_band, label_panels, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", "--", ":", "-.")


def select_fig5(rows: Rows, params: Params) -> list[Row]:
    """Rows that the figure shows: pools of several sizes at the base values, and the model without a defence."""
    ours = by_size(rows, params)
    if not ours:
        swept = swept_pools(defended(rows, params, "features", "neighbors", "weighting", "combination"))
        lacking = f"row of the defence under {params['attack']}" if swept else "pool has more than one size"
        raise InputError(f"figure 5: no {lacking}")
    return [*ours, *with_clean(matching(rows, defense="none"), attack=params["attack"], space=params["space"])]


def draw_fig5(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `select_fig5`: one panel per setting; the clean images are epsilon 0 in each."""
    settings = [name for name in distinct(rows, "setting") if name != "clean"]
    epsilons = sorted(distinct(rows, "epsilon"))
    pools = pool_order(rows)
    figure, panels = new_figure(3.1 * len(settings) + 1.4, 3.3, len(settings))
    looks = looks_of(epsilons)
    for axes, setting in zip(panels, settings, strict=True):
        shown = [row for row in rows if row["setting"] in ("clean", setting)]
        draw_panel(axes, shown, pools, looks)
        axes.set_title(SETTING_NAMES[setting])
        axes.set_xlabel("Database size N (images)")
    label_panels(panels, "Accuracy")
    fit_accuracy(panels[0], rows)
    tell_tested(figure, rows)
    budgets = [handle(f"Δ = {epsilon:g}", **look) for epsilon, look in looks.items()]
    databases = [handle(pool, color="0.3", linestyle=dashes) for pool, dashes in pools.items()]
    budgets += mark_chance(panels, params)
    add_legend(figure, budgets, attack_name(params["attack"], params), ("Database", databases))
    return figure


def pool_order(rows: Rows) -> dict[str, str]:
    """Line style by pool: the last configured is solid (Targeted), the one before dashed (All)."""
    pools = [pool for pool in distinct(rows, "pool") if pool != "none"]
    return dict(zip(reversed(pools), DASHES * len(pools), strict=False))


def draw_panel(axes: Axes, rows: Rows, pools: Mapping[str, str], looks: Mapping[float, Mapping[str, Any]]) -> None:
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
            axes.errorbar(
                [place], [row["accuracy"]], yerr=reach, mfc="white", capsize=2, linestyle="", clip_on=False, **look
            )
    axes.set_xscale("log", base=2)
    axes.set_xticks([left, *sizes], ["no\ndefence", *map(thousands, sizes)])
    axes.minorticks_off()
    axes.axvline(sizes[0] / span**0.08, color="0.8", linewidth=0.8)


PAPER = "{}, CBW-D; IG-N-Targeted (solid lines) and IG-N-All (dashed lines)"
PIECE = RowFigure(
    name="fig5",
    category="Figures",
    title="Accuracy against the number of database images N",
    varies="N, pool, budget Δ",
    shows=f"A line per budget Δ and pool of images; hollow, at the left: without a defence. {BANDS}",
    paper=PAPER.format("PGD"),
    source="nndefense.report.sources:sizes",
    fixed=("features", "neighbors", *VOTE),
    chance=True,
    select=select_fig5,
    draw=draw_fig5,
)
FGSM = replace(PIECE, name="fig9", category="Appendix", attack="fgsm", paper=PAPER.format("FGSM"))
CW = replace(PIECE, name="fig10", category="Appendix", attack="cw", paper=PAPER.format("CW-L2"))
