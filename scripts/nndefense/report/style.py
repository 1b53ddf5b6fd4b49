"""One look for all figures: readable in grey (lightness and markers differ, not hue alone), embedded fonts.

Modules of figures are imported while Snakemake parses, so matplotlib is imported where it draws.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
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


def pyplot() -> Any:
    """matplotlib.pyplot, drawing to memory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def new_figure(
    width: float, height: float, panels: int = 1, rows: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` of `panels` side by side with a shared accuracy axis, row by row; sizes in inches."""
    plt = pyplot()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, panels, figsize=(width, height), squeeze=False, **{"sharey": True, **options})
    return figure, list(axes.flat)


def shades(count: int) -> list[tuple[float, ...]]:
    """`count` colours from light to dark that stay ordered when printed in grey."""
    import matplotlib

    palette = matplotlib.colormaps["viridis_r"]
    return [palette(0.18 + 0.78 * number / max(1, count - 1)) for number in range(count)]


def draw_band(axes: Axes, rows: Sequence[Any], column: str, opacity: float = 0.12, **line: Any) -> None:
    """A line of accuracy against `column` with its 95 % interval as a band."""
    rows = sorted(rows, key=lambda row: row[column])
    places = [row[column] for row in rows]
    axes.plot(places, [row["accuracy"] for row in rows], **line)
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
