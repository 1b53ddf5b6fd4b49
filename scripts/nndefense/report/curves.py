"""Lines of accuracy with 95 % bands: what Figures 3, 4, 6 and those like them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nndefense.report.names import SETTING_NAMES, Params, attack_name
from nndefense.report.select import Row, distinct, matching
from nndefense.report.style import MARKERS, STYLE, draw_band, new_figure, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

REFERENCE: dict[str, Any] = {"color": "0.45", "marker": "x", "linestyle": ":"}
CROWD = 6
TEXT = STYLE["font.size"]
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


def handle(label: str, **look: Any) -> Line2D:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    # A leading underscore would hide it.
    return Line2D([], [], label=f"\u200b{label}" if label.startswith("_") else label, **look)


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
    rows: Sequence[Row], params: Params, curves_of: Callable[[list[Row]], list[Curve]], handles: Sequence[Line2D]
) -> Figure:
    """A panel of accuracy against the budget for every attacked setting, with one legend at the right.

    curves_of: rows of one setting, clean ones included -> their curves.
    """
    settings = [name for name in distinct(rows, "setting") if name != "clean"]
    # A single panel may be larger.
    width, height = (5.7, 4.0) if len(settings) == 1 else (3.1 * len(settings) + 1.6, 3.3)
    figure, panels = new_figure(width, height, len(settings))
    for axes, setting in zip(panels, settings, strict=True):
        shown = [row for row in rows if row["setting"] in ("clean", setting)]
        draw_curves(axes, [undefended(shown), *curves_of(shown)])
        mark_budgets(axes, distinct(shown, "epsilon"))
        axes.set_title(SETTING_NAMES[setting])
    panels[0].set_ylabel("Accuracy")
    fit_accuracy(panels[0], rows)
    add_legend(figure, [*handles, handle("no defence", **REFERENCE)], attack_name(params["attack"], params))
    return figure


def fit_accuracy(axes: Axes, rows: Iterable[Row]) -> None:
    """Accuracy from 0 to just above the highest interval."""
    axes.set_ylim(0, min(1.0, 1.05 * max(row["ci_high"] for row in rows)))


def add_legend(figure: Figure, handles: Sequence[Line2D], title: str) -> None:
    """A legend beside the panels, under the name of the attack."""
    sizes = {"fontsize": TEXT, "title_fontsize": TEXT}
    figure.legend(handles=handles, title=title, alignment="left", loc="outside right center", frameon=False, **sizes)


def legend_below(axes: Axes, handles: Sequence[Line2D], columns: int = 2) -> None:
    """A legend below a panel; of one column where its words are long."""
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, frameon=False, fontsize=TEXT
    )
