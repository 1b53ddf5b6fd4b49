"""Certified accuracy of the votes against the number of images inserted into the database, by K and by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from nndefense.certificates.poisoning import INSERTIONS, POISONING
from nndefense.core.errors import InputError
from nndefense.evaluation.certified import COLUMNS, measure_certified, read_certificates
from nndefense.evaluation.rows import AXES
from nndefense.report.curves import looks_of, mark_chance, tell_tested
from nndefense.report.legends import add_legend, handle
from nndefense.report.names import Params, thousands
from nndefense.report.piece import BANDS, FIGURE, VOTE, Files, Made, Piece
from nndefense.report.select import Row, Rows, defended, distinct, largest, matching
from nndefense.report.style import draw_band, label_panels, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 4
TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
HOLLOW = {"linestyle": "--", "mfc": "white"}


class Panel(NamedTuple):
    """Rows of lines that differ in a column, and how the lines look by its values."""

    title: str
    rows: Rows
    column: str
    looks: Mapping[int, Mapping[str, Any]]


def certified_by_insertions(paths: Sequence[str], params: Params) -> list[Row]:
    """Certified accuracy of all systems against 0 insertions, 1, and so on until nothing holds.

    That is at K / 2, or where a tie leaves an image one later: more one-hot rows than neighbours outweigh these.
    """
    found = [one for path in paths for one in read_certificates(path, params["features"], POISONING, INSERTIONS)]
    return [
        {**params["facts"], **cell._asdict(), **measured}
        for one in found
        for cell, measured in measure_certified(one, range(one.cell.neighbors // 2 + 2))
    ]


def draw_poisoning(rows: Rows, params: Params) -> Figure:
    """Draw those rows of `certified_by_insertions` that have the base vote: a panel per pool, and one of sizes."""
    panels = panels_of(defended(rows, params, *VOTE), params)
    if not panels:
        raise InputError("figure poisoning: no row with the base weighting and combination")
    across = min(PANELS, len(panels) if len(panels) < 4 else ceil(len(panels) / 2))
    down = ceil(len(panels) / across)
    size = 3.1 * across + 1.4, 2.6 * down + 0.6
    figure, places = new_figure(*size, across, down, count=len(panels), sharex=True)
    for axes, panel in zip(places, panels, strict=True):
        _draw_panel(axes, panel)
    label_panels(places, "Certified accuracy", "Inserted images T")
    mark_insertions(places[0], max(row["epsilon"] for panel in panels for row in panel.rows))
    tell_tested(figure, rows)
    looks = {panel.column: panel.looks for panel in panels}
    by_k = [handle(f"K = {k}", **look) for k, look in looks["neighbors"].items()] + mark_chance(places, params)
    by_size = [handle(f"N = {thousands(size)}", **look) for size, look in looks.get("size", {}).items()]
    others = [("Database", by_size)] if by_size else []
    add_legend(figure, by_k, f"{params['weighting']}, {params['combination']}", *others)
    return figure


def panels_of(ours: Rows, params: Params) -> list[Panel]:
    """A panel per pool at its largest size, a line per K; and one of the base pool at base K, a line per size."""
    by_k = looks_of(sorted(distinct(ours, "neighbors")))
    found = []
    for pool in distinct(ours, "pool"):
        rows = largest(matching(ours, pool=pool))
        found.append(Panel(f"{pool}, N = {thousands(rows[0]['size'])}", rows, "neighbors", by_k))
    rows = matching(ours, pool=params["pool"], neighbors=params["neighbors"])
    sizes = sorted(distinct(rows, "size"))
    if len(sizes) > 1:
        looks = {size: look | HOLLOW for size, look in looks_of(sizes).items()}
        found.append(Panel(f"{params['pool']}, K = {params['neighbors']}", rows, "size", looks))
    return found


def mark_insertions(axes: Axes, last: float) -> None:
    """A logarithmic axis from 1 insertion on; 0, the accuracy itself, is as far from 1 as 2 is."""
    axes.set_xscale("symlog", base=2, linthresh=1, linscale=0.5)
    ticks = [one for one in TICKS if one <= last]
    axes.set_xticks(ticks, [str(one) for one in ticks])
    axes.minorticks_off()
    axes.set_xlim(-0.2, 1.1 * last)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for value, look in panel.looks.items():
        line = matching(panel.rows, **{panel.column: value})
        held = sum(row["accuracy"] > 0 for row in line)
        # Markers would merge at every number of insertions.
        marks = [place for place in range(held + 1) if place in TICKS or place == held]
        draw_band(axes, line[: held + 1], "epsilon", opacity=0.1, markevery=marks, **look)
    axes.set_ylim(0, 1)
    axes.set_title(panel.title)


@dataclass(frozen=True, kw_only=True)
class Poisoning(Piece):
    """The figure."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        rows = certified_by_insertions(files["certificates"], params)
        return Made(rows, (*AXES, *COLUMNS), figure=draw_poisoning(rows, params))


PIECE = Poisoning(
    name="poisoning",
    called="Poisoning",
    category="Figures",
    title="Accuracy that no T images inserted into the database can take away",
    varies="T, K, N, pool",
    shows="Share of clean test images that are classified right, and provably so whatever T images are inserted into "
    f"the database. A panel per pool, a line per number of neighbours K; dashed: a line per database size N. {BANDS}",
    source="nndefense.report.certified_sources:poisoning",
    attack="",
    under="insertions into the database",
    settings=(),
    fixed=("features", "neighbors", *VOTE),
    uses=("pool",),
    chance=True,
)
