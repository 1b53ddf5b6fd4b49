"""Clusters of each class: their most central images, their sizes, and the scores that chose how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nndefense.core.arrays import read_arrays
from nndefense.core.seals import fault
from nndefense.report.dictionaries import class_name
from nndefense.report.illustration import shortened
from nndefense.report.names import Params, class_names
from nndefense.report.piece import FIGURE, Files, Made, Piece
from nndefense.report.select import Row
from nndefense.report.sheet import arrange
from nndefense.report.style import is_narrow, points, pyplot, shades, style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nndefense.dictionaries.stored_clusters import StoredClusters

SHOWN, IMAGES = 10, 8  # classes, and images of a cluster
SIDE, GAP = 96, 2  # pixels that an image is drawn with at most, and between images
HEAD, BELOW, MARGIN = 0.24, 0.3, 0.15  # inches: head of a band, space below it, margin
LEAST, TOP = 0.55, 0.3  # inches: height of a band, and of the line above all of them
SMALL, TINY = 8, 6.5  # points
SCORE_NAMES = {"silhouette": "silhouette", "bic": "−BIC / 2"}


class Widths(NamedTuple):
    """Inches: an image, size text beside it, plot of scores, space before it; columns of bands, images of a cluster."""

    cell: float
    text: float
    scores: float
    before: float
    columns: int
    images: int


WIDE = Widths(0.37, 0.85, 0.95, 0.45, 2, IMAGES)
# In all as wide as a column of a paper.
NARROW = Widths(0.26, 0.75, 0.8, 0.41, 1, 4)


@dataclass(frozen=True)
class Band:
    """Clusters of a class.

    Attributes:
        name: of the class.
        sizes: (k,) of the clusters.
        images: of each cluster, (q, H, W, 3) uint8, nearest to its mean first.
        scores: of each number of clusters, from 1 on; NaN where there is none.
    """

    name: str
    sizes: Sequence[int]
    images: Sequence[np.ndarray]
    scores: Sequence[float]


def read_bands(clusters: StoredClusters, path: str, names: Sequence[str]) -> list[Band]:
    """A band for every class; path: of its clusters' most central images, names: of classes.

    Raises FileFault for images of other clusters.
    """
    stored = read_arrays(path, "images", "rows")
    images, rows = stored["images"], stored["rows"]
    if images.ndim != 5 or rows.shape != images.shape[:2] or len(rows) != len(clusters.classes):
        shapes = f"images {images.shape} and rows {rows.shape}"
        raise fault(path, f"{shapes} do not fit {len(clusters.classes)} clusters")
    found = []
    for label, scores in zip(np.unique(clusters.classes).tolist(), clusters.scores.tolist(), strict=True):
        own = np.flatnonzero(clusters.classes == label)
        # Row -1 stands where a cluster has fewer.
        shown = [images[cluster][rows[cluster] >= 0][:IMAGES] for cluster in own]
        found.append(Band(class_name(names, label), clusters.sizes[own].tolist(), shown, scores))
    return found


def chosen_bands(bands: Sequence[Band]) -> list[Band]:
    """All bands where they are few, else the first that have several clusters, and others where these are too few."""
    if len(bands) <= SHOWN:
        return list(bands)
    places = sorted(range(len(bands)), key=lambda place: (len(bands[place].sizes) == 1, place))[:SHOWN]
    return [bands[place] for place in sorted(places)]


def summary(bands: Sequence[Band]) -> str:
    """What there is, and what of it is shown."""
    several = sum(len(band.sizes) > 1 for band in bands)
    images, clusters = sum(sum(band.sizes) for band in bands), sum(len(band.sizes) for band in bands)
    text = f"{images:,} images of {len(bands):,} classes in {clusters:,} clusters"
    if len(bands) > SHOWN:
        which = f"of which the first {SHOWN} are shown" if several >= SHOWN else f"shown with others, {SHOWN} in all"
        text += f"; {several:,} classes have several, {which}"
    return text


def draw_clusters(bands: Sequence[Band], params: Params) -> Figure:
    """Draw a band per class, in two columns; in a column of a paper in one."""
    shown, widths = chosen_bands(bands), NARROW if is_narrow() else WIDE
    height, width = shown[0].images[0].shape[1:3]
    cell = widths.cell * height / width
    images = widths.images if is_narrow() else max(len(row) for band in shown for row in band.images)
    widths = widths._replace(images=images)
    across = MARGIN + widths.text + images * widths.cell + widths.before + widths.scores + MARGIN
    heights = [HEAD + max(LEAST, len(band.sizes) * cell) + BELOW for band in shown]
    split = _split(heights) if widths.columns == 2 else len(shown)
    size = widths.columns * across, TOP + max(sum(heights[:split]), sum(heights[split:]))
    limits = _limits(shown, params)
    plt = pyplot()
    with plt.rc_context(style()):
        figure = plt.figure(figsize=size)
        # A figure that is made without a layout is given one by its first file.
        figure.set_layout_engine("none")
        figure.text(MARGIN / size[0], 1 - 0.08 / size[1], wrapped(summary(bands), 65), va="top", fontsize=points(SMALL))
        for place, band in enumerate(shown):
            column = int(place >= split)
            top = TOP + sum(heights[split if column else 0 : place])
            box = _Box(figure, size, column * across + MARGIN, top)
            _draw_band(box, band, cell, widths, params, limits)
    return figure


def _split(heights: Sequence[float]) -> int:
    """How many bands stand in the first column, so that the figure is as low as can be."""
    places = range(1, len(heights) + 1)
    return min(places, key=lambda place: (max(sum(heights[:place]), sum(heights[place:])), place))


def _limits(bands: Sequence[Band], params: Params) -> tuple[float, float] | None:
    """Silhouettes share an axis; likelihoods of different classes cannot."""
    if params["criterion"] != "silhouette":
        return None
    known = [score for band in bands for score in band.scores if not isnan(score)]
    return min([0.0, *known]), 1.1 * max([params["least"], *known])


@dataclass(frozen=True)
class _Box:
    """A place in a figure of a size in inches, its corner at the left and top."""

    figure: Figure
    size: tuple[float, float]
    left: float
    top: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        right, down = self.size
        return self.figure.add_axes(
            ((self.left + left) / right, 1 - (self.top + top + height) / down, width / right, height / down)
        )

    def text(self, left: float, top: float, text: str, **look: Any) -> None:
        right, down = self.size
        self.figure.text((self.left + left) / right, 1 - (self.top + top) / down, text, **look)


def _draw_band(
    box: _Box, band: Band, cell: float, widths: Widths, params: Params, limits: tuple[float, float] | None
) -> None:
    total, count = sum(band.sizes), len(band.sizes)
    text, right = widths.text, widths.text + widths.images * widths.cell
    tiny = points(TINY + 0.5)
    box.text(0, HEAD - 0.06, shortened(band.name), fontsize=points(SMALL + 1), fontweight="bold", va="bottom")
    many = f"{count} clusters" if count > 1 else "1 cluster"
    box.text(right, HEAD - 0.06, f"{total:,} images, {many}", fontsize=points(TINY), va="bottom", ha="right")
    for place, (size, row) in enumerate(zip(band.sizes, band.images, strict=True)):
        share = f"{size:,} ({100 * size / total:.0f} %)"
        box.text(text - 0.08, HEAD + (place + 0.5) * cell, share, fontsize=tiny, va="center", ha="right")
        box.text(0, HEAD + (place + 0.5) * cell, f"{place + 1}", fontsize=tiny, va="center", color="0.35")
        row = row[: widths.images]
        _draw_row(box.axes(text, HEAD + place * cell, len(row) * widths.cell, 0.93 * cell), row)
    axes = box.axes(right + widths.before, HEAD, widths.scores, max(LEAST, min(count * cell, 1.6 * LEAST)))
    _draw_scores(axes, band, params, limits)


def _draw_row(axes: Axes, images: np.ndarray) -> None:
    small = max(images.shape[1:3]) <= SIDE
    strip = arrange([images if small else shrunk(images)], GAP if small else 2 * GAP)
    axes.imshow(strip, interpolation="nearest" if small else "antialiased", aspect="auto")
    axes.set_axis_off()


def shrunk(images: np.ndarray) -> np.ndarray:
    """Images (q, H, W, 3) uint8 of SIDE pixels along their longer side."""
    from PIL import Image

    height, width = images.shape[1:3]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS)) for one in images])


def _draw_scores(axes: Axes, band: Band, params: Params, limits: tuple[float, float] | None) -> None:
    """Scores by number of clusters, the chosen one filled; below the dotted line, a class is not divided."""
    numbers, chosen = list(range(1, len(band.scores) + 1)), len(band.sizes)
    look: dict[str, Any] = {"color": shades(3)[2], "marker": "o", "markersize": 3.5, "linewidth": 1}
    axes.plot(numbers, band.scores, mfc="white", **look)
    if not isnan(band.scores[chosen - 1]):
        axes.plot([chosen], [band.scores[chosen - 1]], **look | {"markersize": 5})
    elif all(map(isnan, band.scores)):
        axes.text(
            0.5, 0.2, "no other possible", transform=axes.transAxes, fontsize=points(TINY), ha="center", va="center"
        )
    if params["criterion"] == "silhouette":
        axes.axhline(params["least"], color="0.45", linestyle=":", linewidth=1)
    if limits:
        axes.set_ylim(*limits)
    axes.set_xlim(0.5, len(numbers) + 0.5)
    axes.set_xticks(numbers)
    axes.locator_params(axis="y", nbins=3)
    axes.tick_params(labelsize=points(TINY), length=2, pad=1.5)
    axes.set_title(SCORE_NAMES[params["criterion"]], fontsize=points(TINY), loc="left", pad=2)


def cluster_rows(bands: Sequence[Band]) -> list[Row]:
    """A row for every cluster of every class; scores are those of its class, empty where there is none."""
    return [
        {"class": band.name, "cluster": place + 1, "size": size}
        | {f"score_{number}": "" if isnan(one) else one for number, one in enumerate(band.scores, 1)}
        for band in bands
        for place, size in enumerate(band.sizes)
    ]


@dataclass(frozen=True, kw_only=True)
class ClusterSheet(Piece):
    """The figure."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        from nndefense.dictionaries.stored_clusters import read_clusters

        clusters = read_clusters(files["clusters"][0])
        bands = read_bands(clusters, files["central"][0], class_names(files["learnt"][0]))
        rows = cluster_rows(bands)
        return Made(rows, tuple(rows[0]), figure=draw_clusters(bands, params))


PIECE = ClusterSheet(
    name="srd/clusters",
    called="Clusters",
    category="Semantic dictionaries",
    title="Clusters of the latents of each class",
    varies="class, cluster",
    shows="A band per class, a row per cluster: the images nearest to its mean, nearest first, the number of its "
    "images and their share of the class. Beside it the score of each number of clusters, more is better; filled: the "
    "chosen one. Dotted: the silhouette from which a class is divided at all.",
    source="nndefense.report.dictionary_figure_sources:clusters",
    attack="",
    settings=(),
)
