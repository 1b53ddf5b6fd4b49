"""Search indexes: what they find, and what their votes lose, against how many queries they answer a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from nndefense.report.curves import looks_of, tell_tested
from nndefense.report.indexes import COLUMNS, MARGIN, bytes_text, images_text, read_indexes
from nndefense.report.legends import handle, legends_below
from nndefense.report.names import Params, thousands
from nndefense.report.piece import FIGURE, VOTE, Files, Made, Piece
from nndefense.report.select import Row, Rows, distinct, matching
from nndefense.report.style import is_narrow, new_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Looks = Mapping[str, Mapping[str, Any]]
LINES: dict[str, Any] = {"capsize": 2, "elinewidth": 1, "linestyle": ""}
# Attacked images are hollow, and stand below clean ones.
FILLS: tuple[dict[str, Any], ...] = ({}, {"mfc": "white"})
APART = 0.13


def draw_indexes(rows: Rows, params: Params) -> Figure:
    """Draw the rows of `read_indexes`: recall against speed, and what each index's votes lose."""
    names = distinct(rows, "index")
    figure, (left, right) = new_figure(9.4, max(3.4, 0.34 * len(names) + 1.2), 2, sharey=False)
    looks = looks_of(names)
    _draw_recall(left, rows, looks)
    _draw_differences(right, rows, looks)
    own = matching(rows, index=names[0])
    handles = [
        handle(images_text(row, params), linestyle="", marker="o", color="0.3", **fill)
        for row, fill in zip(own, FILLS, strict=False)
    ]
    tell_tested(figure, rows)
    legends_below(figure, ("", handles), columns=len(handles))
    return figure


def _draw_recall(axes: Axes, rows: Rows, looks: Looks) -> None:
    """Recall with its interval, against the speed with its slowest and fastest search."""
    for row in rows:
        x, y = row["queries_per_second"], row["recall"]
        reach: dict[str, Any] = {
            "xerr": [[x - row["slowest"]], [row["fastest"] - x]],
            "yerr": [[y - row["recall_low"]], [row["recall_high"] - y]],
        }
        axes.errorbar([x], [y], **reach, **LINES, **looks[row["index"]], **_fill(row, rows))
    axes.set_xscale("log")
    _mark_speeds(axes)
    axes.set_ylabel(f"Recall@{rows[0]['neighbors']}")
    axes.set_title(f"{rows[0]['pool']}, N = {thousands(rows[0]['size'])}")


def _mark_speeds(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 of every power of ten, from one below all points to one above."""
    low, high = axes.get_xlim()
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    every = [number * 10.0**power for power in powers for number in (1, 2, 5)]
    low, high = max(tick for tick in every if tick <= low), min(tick for tick in every if tick >= high)
    ticks = [tick for tick in every if low <= tick <= high]
    axes.set_xticks(ticks, [thousands(tick) for tick in ticks])
    axes.set_xlim(low, high)
    axes.minorticks_off()
    axes.set_xlabel("Queries a CPU second")


def _draw_differences(axes: Axes, rows: Rows, looks: Looks) -> None:
    """A line per index, which tells its look: the difference in accuracy from the exact search, with its interval."""
    names, sets = list(looks), distinct(rows, "setting")
    axes.axvspan(-MARGIN, MARGIN, color="0.92", zorder=0)
    axes.axvline(0, color="0.45", linestyle=":")
    for row in rows:
        y = names.index(row["index"]) + APART * (2 * sets.index(row["setting"]) - len(sets) + 1)
        x, low, high = ((row[name] or 0.0) for name in ("difference", "difference_low", "difference_high"))
        # At the ends of the scale Agresti and Min's interval may lie beside the value.
        reach = [[max(0.0, x - low)], [max(0.0, high - x)]]
        axes.errorbar([x], [y], xerr=reach, **LINES, **looks[row["index"]], **_fill(row, rows))
    line = "\n" if is_narrow() else " "
    labels = [f"{name},{line}{_bytes(rows, name)} bytes" for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(wrapped("Accuracy minus that of the exact search", 24))


def _fill(row: Row, rows: Rows) -> Mapping[str, Any]:
    return FILLS[distinct(rows, "setting").index(row["setting"])]


def _bytes(rows: Rows, name: str) -> str:
    return bytes_text(matching(rows, index=name)[0])


@dataclass(frozen=True, kw_only=True)
class IndexFigure(Piece):
    """The figure."""

    kind: str = FIGURE
    draw: Callable[[Rows, Params], Figure] = draw_indexes

    def make(self, files: Files, params: Params) -> Made:
        rows = read_indexes(files["measured"], params)
        return Made(rows, COLUMNS, figure=self.draw(rows, params))


PIECE = IndexFigure(
    name="fig_index",
    called="Search indexes",
    category="Figures",
    title="What search indexes find, and what their votes lose, against their speed",
    varies="index",
    shows="Left: share of the exact neighbours that an index finds, against its speed in CPU seconds of one thread, "
    "which alone differs from run to run (bars: slowest and fastest search). Right: accuracy of the votes minus that "
    f"of the exact search on the same images; shaded: ±{MARGIN:g}, where it does not matter. Bars: 95 % intervals. "
    "Bytes are those of a vector.",
    source="nndefense.report.index_sources:indexes",
    settings=("gray_box",),
    fixed=("epsilon", "features", "neighbors", *VOTE),
    uses=("pool",),
)
