"""Legends beside panels and below them; a figure's layout makes room for one at a side, so these are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from nndefense.report.style import STYLE, is_narrow, points, pyplot, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    Handles = Sequence[Line2D]

TEXT = STYLE["font.size"]
LARGEST = 0.5  # share of a figure's width that legends beside panels take
GAP = 0.06  # inches between legends and panels
LABELLED = 4.1  # letters' sizes: height of the numbers and the label below a panel


def handle(label: str, **look: Any) -> Line2D:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    # A leading underscore would hide it.
    return Line2D([], [], label=f"\u200b{label}" if label.startswith("_") else label, **look)


def add_legend(figure: Figure, handles: Handles, title: str, *others: tuple[str, Handles]) -> None:
    """Legends beside the panels, one above the other; in a column below them, side by side.

    Args:
        figure: drawn.
        handles, title: of the first legend, e.g. lines by colour under the name of the attack.
        others: titles and entries of further ones, e.g. by the style of a line.
    """
    legends = [(title, handles), *others]
    if is_narrow():
        legends_below(figure, *legends)
        return
    drawn = [_legend(figure, name, entries, 1) for name, entries in legends]
    width, height = figure.get_size_inches()
    wide = min(LARGEST, max(_size(one)[0] for one in drawn) / width)
    _keep_free(figure, right=wide)
    top = min(1.0, 0.5 + sum(_size(one)[1] for one in drawn) / height / 2)
    for legend in drawn:
        legend.set_bbox_to_anchor((1 - wide, top), figure.transFigure)
        top -= _size(legend)[1] / height


def legends_below(figure: Figure, *legends: tuple[str, Handles], columns: int = 1) -> None:
    """Legends below all panels: titles and entries, side by side where the figure is wide enough.

    columns: of each at most, but for a figure in a column, whose only legend has two.
    """
    most = (2 if len(legends) == 1 else 1) if is_narrow() else columns
    width = figure.get_figwidth()
    lines: list[list[Legend]] = [[]]
    for title, entries in legends:
        legend = next(one for count in range(most, 0, -1) if (one := _fitting(figure, title, entries, count)))
        if lines[-1] and sum(_size(one)[0] for one in [*lines[-1], legend]) > width:
            lines.append([])
        lines[-1].append(legend)
    high = sum(max(_size(one)[1] for one in line) for line in lines) + GAP
    if is_narrow():
        figure.set_figheight(figure.get_figheight() + high)
    height = figure.get_figheight()
    _keep_free(figure, bottom=high / height)
    top = (high - GAP) / height
    for line in lines:
        left, space = 0.0, max(0.0, 1 - sum(_size(one)[0] for one in line) / width) / (len(line) + 1)
        for legend in line:
            legend.set_bbox_to_anchor((left + space, top), figure.transFigure)
            left += space + _size(legend)[0] / width
        top -= max(_size(one)[1] for one in line) / height


def legend_below(axes: Axes, *columns: Handles) -> None:
    """A legend below a panel and its label, of a column each for these entries."""
    from matplotlib.transforms import ScaledTranslation

    figure, size = cast("Figure", axes.figure), points(TEXT)
    # As far down as two lines of letters are high, however high the panel is.
    below = axes.transAxes + ScaledTranslation(0, -LABELLED * size / 72, figure.dpi_scale_trans)
    drawn = []
    for place, handles in enumerate(columns):
        if earlier := axes.get_legend():
            # The next one would replace it; and only what is not clipped to the panel is given room.
            axes.add_artist(earlier).set_clip_on(False)
        anchor, look = ((place + 0.5) / len(columns), 0), {"frameon": False, "fontsize": size, "borderaxespad": 0}
        drawn.append(
            axes.legend(handles=handles, loc="upper center", bbox_to_anchor=anchor, bbox_transform=below, **look)
        )
    if is_narrow():
        figure.set_figheight(figure.get_figheight() + max(_size(one)[1] for one in drawn))


def raise_above(figure: Figure, note: Text) -> None:
    """Make a figure so much higher that a note at its lower edge stands below all else, legends too."""
    engine = figure.get_layout_engine()
    if engine is None or "rect" not in engine.get():
        return
    note.set_in_layout(False)
    note.set_parse_math(False)
    before = figure.get_figheight()
    room = note.get_window_extent().height / figure.dpi + 2 * GAP
    anchors = [one.get_bbox_to_anchor().transformed(figure.transFigure.inverted()) for one in figure.legends]
    figure.set_figheight(before + room)
    left, bottom, width, height = engine.get()["rect"]
    for legend, box in zip(figure.legends, anchors, strict=True):
        legend.set_bbox_to_anchor(
            (box.x0, _raised(box.y0, before, room), box.width, box.height * before / (before + room)),
            figure.transFigure,
        )
    rect = (left, _raised(bottom, before, room), width, height * before / (before + room))
    figure.set_layout_engine("constrained", rect=rect)


def _raised(place: float, before: float, room: float) -> float:
    return (place * before + room) / (before + room)


def _fitting(figure: Figure, title: str, handles: Handles, columns: int) -> Legend | None:
    """A legend; None where it has several columns and is wider than its figure."""
    legend = _legend(figure, title, handles, columns)
    if columns > 1 and _size(legend)[0] > figure.get_figwidth():
        legend.remove()
        return None
    return legend


def _legend(figure: Figure, title: str, handles: Handles, columns: int) -> Legend:
    size = points(TEXT)
    look: dict[str, Any] = {"fontsize": size, "title_fontsize": size, "frameon": False, "alignment": "left"}
    with pyplot().rc_context(style()):
        return figure.legend(
            handles=handles, title=title or None, ncols=min(columns, len(handles)), loc="upper left",
            borderaxespad=0, **look,
        )  # fmt: skip


def _size(legend: Legend) -> tuple[float, float]:
    """Width and height in inches."""
    box, dpi = legend.get_window_extent(), cast("Figure", legend.figure).dpi
    return box.width / dpi, box.height / dpi


def _keep_free(figure: Figure, right: float = 0.0, bottom: float = 0.0) -> None:
    """Leave shares of a figure to what the layout does not know of."""
    figure.set_layout_engine("constrained", rect=(0, bottom, 1 - right, 1 - bottom))
