"""Lines of accuracy with 95 % bands: what Figures 3, 4, 6 and those like them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from nndefense.core.text import one_line
from nndefense.report.legends import TEXT, add_legend, handle
from nndefense.report.names import SETTING_NAMES, Params, attack_name
from nndefense.report.select import Row, distinct, matching
from nndefense.report.style import MARKERS, draw_band, label_panels, new_figure, points, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

    from nndefense.report.legends import Handles

REFERENCE: dict[str, Any] = {"color": "0.45", "marker": "x", "linestyle": ":"}
CHANCE: dict[str, Any] = {"color": "0.15", "linestyle": (0, (1, 2.5)), "linewidth": 1}
CROWD = 6
LISTED = 2  # networks, and numbers of images
BUDGET = "Normalised l2 distance Δ"


@dataclass(frozen=True)
class Curve:
    """One line: its rows, the column that is its x axis, and how it looks."""

    rows: Sequence[Row]
    column: str = "epsilon"
    look: Mapping[str, Any] = field(default_factory=dict)


def looks_of(values: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    """Colour and marker by value, from light to dark in the order of `values`."""
    markers = MARKERS * (len(values) // len(MARKERS) + 1)
    return {
        value: {"color": colour, "marker": marker}
        for value, colour, marker in zip(values, shades(len(values)), markers, strict=False)
    }


def draw_curves(axes: Axes, curves: Iterable[Curve]) -> None:
    """Draw lines of accuracy with their bands, which are fainter where many overlap."""
    drawn = [curve for curve in curves if curve.rows]
    for curve in drawn:
        draw_band(axes, curve.rows, curve.column, opacity=0.12 if len(drawn) <= CROWD else 0.06, **curve.look)


def undefended(rows: Sequence[Row]) -> Curve:
    """The model without a defence, against the budget."""
    return Curve(matching(rows, defense="none"), look=REFERENCE)


def mark_budgets(axes: Axes, epsilons: Iterable[float], label: str = BUDGET) -> None:
    """Ticks at the budgets; the clean images are 0."""
    places = sorted({0.0, *epsilons})
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xlabel(label)


def draw_by_budget(
    rows: Sequence[Row],
    params: Params,
    curves_of: Callable[[list[Row]], list[Curve]],
    handles: Handles,
    *others: tuple[str, Handles],
) -> Figure:
    """A panel of accuracy against the budget for every attacked setting, with legends at the right.

    Args:
        rows: of all settings, clean ones included.
        params: of the piece.
        curves_of: rows of one setting, clean ones included -> their curves.
        handles: below the name of the attack. others: further legends, title and entries each.
    """
    settings = [name for name in distinct(rows, "setting") if name != "clean"]
    # A single panel may be larger.
    width, height = (5.9, 4.0) if len(settings) == 1 else (3.1 * len(settings) + 1.8, 3.3)
    figure, panels = new_figure(width, height, len(settings))
    for axes, setting in zip(panels, settings, strict=True):
        shown = [row for row in rows if row["setting"] in ("clean", setting)]
        draw_curves(axes, [undefended(shown), *curves_of(shown)])
        mark_budgets(axes, distinct(shown, "epsilon"))
        axes.set_title(SETTING_NAMES[setting])
    label_panels(panels, "Accuracy")
    fit_accuracy(panels[0], rows)
    tell_tested(figure, rows)
    known = [handle("no defence", **REFERENCE), *mark_chance(panels, params)]
    add_legend(figure, [*handles, *known], attack_name(params["attack"], params), *others)
    return figure


def fit_accuracy(axes: Axes, rows: Iterable[Row]) -> None:
    """Accuracy from 0 to 1; where all of it is low, to the tick above the highest interval."""
    highest = max(row["ci_high"] for row in rows)
    top = 1.0 if highest > 0.5 else max(1, ceil(10 * highest)) / 10
    count = {1.0: 5, 0.5: 5, 0.4: 4, 0.3: 3}.get(top, 4)
    axes.set_ylim(0, top)
    axes.set_yticks([top * place / count for place in range(count + 1)])


def mark_chance(panels: Iterable[Axes], params: Params) -> list[Line2D]:
    """A line at what guessing gives in all these panels: its entry of a legend, or none for unknown classes."""
    if not (classes := params.get("classes")):
        return []
    for axes in panels:
        axes.axhline(1 / classes, zorder=1.5, **CHANCE)
    return [handle(f"chance, 1 / {classes:,}", **CHANCE)]


def tell_tested(figure: Figure | SubFigure, rows: Iterable[Row], *more: str) -> None:
    """Say above the panels which networks the rows are of, of how many test images, and more."""
    rows = list(rows)
    networks = [one_line(name) for name in distinct(rows, "model")]
    counts = sorted(distinct(rows, "n"), reverse=True)
    shown = [f"{count:,}" for count in counts]
    if len(shown) > LISTED:
        shown = [f"{shown[-1]} to {shown[0]}"]
    named = ", ".join(networks) if len(networks) <= LISTED else f"{len(networks)} networks"
    text = "; ".join([named, f"n = {' and '.join(shown)} test images", *more])
    figure.suptitle(text, x=0.01, ha="left", fontsize=points(TEXT - 1), color="0.35")
