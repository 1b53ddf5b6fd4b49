"""Certified recall against the radius: certificates from below, attacks from above, the base model under attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from nndefense.evaluation.certified import COLUMNS
from nndefense.evaluation.guarded import BASE, MEAN, VOTE
from nndefense.evaluation.rows import AXES
from nndefense.report.curves import looks_of, tell_tested
from nndefense.report.guarded import (
    RULE_NAMES,
    System,
    attacked,
    certificates_of,
    certified,
    embedding_name,
    read_guarded,
    rows_of,
    systems_of,
)
from nndefense.report.legends import TEXT, handle, legends_below
from nndefense.report.names import Params
from nndefense.report.piece import FIGURE, Files, Made, Piece
from nndefense.report.select import Row, Rows
from nndefense.report.style import draw_band, is_narrow, label_panels, new_figure, points, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 3
LINES = {
    BASE: {"color": "0.45", "marker": "x", "linestyle": ":"},
    MEAN: {"color": "0.0", "marker": "v", "linestyle": "--", "mfc": "white"},
    VOTE: {"color": "0.0", "marker": "^", "linestyle": "-.", "mfc": "white"},
}


@dataclass(frozen=True)
class Panel:
    """A panel: its title, and how its lines are drawn.

    Attributes:
        lines: rows by radius, and how they look.
    """

    title: str
    lines: list[tuple[list[Row], Mapping[str, Any]]]


def draw_retrieval(rows: Rows, params: Params) -> Figure:
    """Draw all rows: a panel per retrieval, and one per task, embedding and certificate that has several sigmas."""
    names = certificates_of(params)
    looks, sigmas = looks_of(list(names)), sorted({row["sigma"] for row in rows})
    shades = {sigma: look | {"mfc": "white"} for sigma, look in looks_of(sigmas).items()}
    panels = [_one_system(rows_of(rows, one), one, looks, params) for one in systems_of(rows)]
    panels += _by_sigma(rows, shades, params)
    across = min(PANELS, len(panels))
    down = ceil(len(panels) / across)
    figure, places = new_figure(2.9 * across + 0.4, 2.7 * down + 1.1, across, down, count=len(panels))
    for axes, panel in zip(places, panels, strict=True):
        _draw_panel(axes, panel)
    label_panels(places, "Recall@1")
    for axes in places[-1:] if is_narrow() else places[-across:]:
        axes.set_xlabel("Radius, l2 distance of images in [0, 1]")
    tell_tested(figure, rows)
    legends = [("Certified", [handle(label, **looks[name]) for name, label in names.items()])]
    if any(attacked(rows, rule) for rule in LINES):
        legends.append(("Under attack", [handle(RULE_NAMES[rule], **look) for rule, look in LINES.items()]))
    if len(panels) > len(systems_of(rows)):
        legends.append(("Certified, by noise", [handle(f"σ = {sigma:g}", **look) for sigma, look in shades.items()]))
    legends_below(figure, *legends)
    return figure


def _one_system(own: Rows, system: System, looks: Mapping[str, Any], params: Params) -> Panel:
    lines = [(certified(own, name), look) for name, look in looks.items()]
    lines += [(attacked(own, rule), look) for rule, look in LINES.items()]
    return Panel(f"{system.pool}: {embedding_name(system, params)}, σ = {system.sigma:g}", lines)


def _by_sigma(rows: Rows, shades: Mapping[float, Any], params: Params) -> list[Panel]:
    """Panels of a certificate for several sigmas: the two that certify most, of either decision."""
    groups: dict[tuple[str, str], list[System]] = {}
    for one in systems_of(rows):
        groups.setdefault((one.pool, one.features), []).append(one)
    found = []
    for group in groups.values():
        for name in _best(certificates_of(params)) if len(group) > 1 else []:
            lines = [(certified(rows_of(rows, one), name), shades[one.sigma]) for one in group]
            label = params["certificate_labels"][name]
            found.append(Panel(f"{group[0].pool}: {embedding_name(group[0], params)}, {label}", lines))
    return found


def _best(names: Mapping[str, str]) -> list[str]:
    """The last certificate of the mean embedding that is configured, and the vote."""
    of_mean = [name for name in names if name != "vote"]
    return [*of_mean[-1:], *(["vote"] if "vote" in names else [])]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for line, look in panel.lines:
        if line:
            # Attacks are on fewer queries, and their wide bands would hide those of certificates.
            draw_band(axes, line, "epsilon", opacity=0.04 if "linestyle" in look else 0.1, **look)
    last = max((row["epsilon"] for line, _ in panel.lines for row in line), default=1.0)
    axes.set_xlim(-0.02 * last, 1.02 * last)
    axes.set_ylim(0, 1)
    axes.set_title(wrapped(panel.title), fontsize=points(TEXT))


@dataclass(frozen=True, kw_only=True)
class RetrievalFigure(Piece):
    """The figure."""

    kind: str = FIGURE
    draw: Callable[[Rows, Params], Figure] = draw_retrieval

    def make(self, files: Files, params: Params) -> Made:
        rows = read_guarded(files["rows"])
        return Made(rows, (*AXES, *COLUMNS), figure=self.draw(rows, params))


PIECE = RetrievalFigure(
    name="retrievalguard/fig",
    called="Certified retrieval",
    category="Certified retrieval",
    title="Recall@1 that is proven, and recall@1 under attack, by radius",
    varies="radius, certificate, σ",
    shows="Solid: share of queries whose nearest neighbour is of the right class, and provably so for every image "
    "within the radius. Dashed: what attacks through averages over noise leave, a bound from above on the same "
    "decision. Dotted: the base model under attack, which no certificate covers. Bands: 95 % Wilson intervals.",
    source="nndefense.report.certified_sources:retrieval",
    attack="",
    under="certificates and attacks on the retrieval",
    settings=(),
)
