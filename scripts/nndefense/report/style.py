"""One look for all figures: readable in grey (lightness and markers differ, not hue alone), embedded fonts.

Modules of figures are imported while Snakemake parses, so matplotlib is imported where it draws.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "nndefense",
    # Names hold dollar signs, which would start a formula; no figure has one.
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
}
# In a column of a paper: its width and the height of a panel in inches, and of more than MANY in pairs.
COLUMN, PANEL, PAIR, MANY = 3.3, 1.95, 1.5, 5
# Of letters there, and the smallest in points.
SCALE, SMALLEST = 0.78, 6.0
NARROW: dict[str, Any] = {
    "axes.linewidth": 0.6,
    "axes.titlesize": 7.5,
    "font.size": 7,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.2,
    "lines.markeredgewidth": 0.8,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}
_NARROW: ContextVar[bool] = ContextVar("narrow", default=False)


@contextmanager
def narrow() -> Iterator[None]:
    """What is drawn within is as wide as a column: panels below each other, smaller letters, legends below."""
    token = _NARROW.set(True)
    try:
        with pyplot().rc_context(style()):
            yield
    finally:
        _NARROW.reset(token)


def is_narrow() -> bool:
    """Whether figures are drawn for a column."""
    return _NARROW.get()


def style(**changes: Any) -> dict[str, Any]:
    """Settings of matplotlib: STYLE, that of a column where figures are drawn for one, and changes of both."""
    return STYLE | (NARROW if is_narrow() else {}) | changes


def points(size: float) -> float:
    """A size of letters: as given, or as much smaller as a column needs, but never below SMALLEST."""
    return max(SMALLEST, SCALE * size) if is_narrow() else size


def wrapped(text: str, letters: int = 30) -> str:
    """A text that is set over panels; in a column in lines of so many letters."""
    # Not between a letter and its value.
    return fill(text.replace(" = ", "\u00a0=\u00a0"), letters) if is_narrow() else text


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to memory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def new_figure(
    width: float, height: float, panels: int = 1, rows: int = 1, *, count: int | None = None, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of panels with a shared accuracy axis, row by row; in a column below each other, or many in pairs.

    Args:
        width, height: in inches; a column has its own.
        panels: in a row. rows: how many.
        count: how many panels are used, from the first one on; by default all.
        options: of `subplots`.
    """
    plt = pyplot()
    count = panels * rows if count is None else count
    if is_narrow():
        panels = 1 if count <= MANY else 2
        rows = -(-count // panels)
        width, height = COLUMN, (PANEL if panels == 1 else PAIR) * rows + 0.25
    with plt.rc_context(style()):
        figure, axes = plt.subplots(rows, panels, figsize=(width, height), squeeze=False, **{"sharey": True, **options})
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def label_panels(panels: Sequence[Axes], y: str, x: str | None = None) -> None:
    """Label the panels at the left edge of a grid, and the lowest of each column.

    Args:
        panels: all of a figure, row by row.
        y: label of the shared axis, e.g. accuracy.
        x: label of the other one, where it is shared, too: other panels then have no numbers below them.
    """
    places = [axes.get_subplotspec() for axes in panels]
    lowest = {place.colspan.start: place.rowspan.start for place in places}
    for axes, place in zip(panels, places, strict=True):
        if place.is_first_col():
            axes.set_ylabel(y)
        if x is not None:
            last = lowest[place.colspan.start] == place.rowspan.start
            axes.set_xlabel(x if last else "")
            axes.tick_params(labelbottom=last)


def shades(count: int) -> list[tuple[float, ...]]:
    """`count` colours from light to dark that stay ordered when printed in grey."""
    import matplotlib

    palette = matplotlib.colormaps["viridis_r"]
    return [palette(0.18 + 0.78 * number / max(1, count - 1)) for number in range(count)]


def draw_band(axes: Axes, rows: Sequence[Any], column: str, opacity: float = 0.12, **line: Any) -> None:
    """A line of accuracy against `column` with its 95 % interval as a band."""
    rows = sorted(rows, key=lambda row: row[column])
    places = [row[column] for row in rows]
    # Markers at an accuracy of 0 or 1 stand whole on the edge of the panel.
    axes.plot(places, [row["accuracy"] for row in rows], **{"clip_on": False, **line})
    axes.fill_between(
        places,
        [row["ci_low"] for row in rows],
        [row["ci_high"] for row in rows],
        color=line.get("color"),
        alpha=opacity,
        linewidth=0,
    )


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as `pdf`, `png` or `svg`, without dates, so equal data gives equal bytes; text as it was given."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        # Of text that was made outside of the style.
        text.set_parse_math(False)
    buffer = io.BytesIO()
    metadata = {"pdf": {"CreationDate": None, "ModDate": None}, "png": {"Software": None}, "svg": {"Date": None}}
    with pyplot().rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata[kind])
    return buffer.getvalue()
