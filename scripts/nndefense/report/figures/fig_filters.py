"""Dictionaries as they were learnt: their filters as colour tiles, and the objective while they were learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.core.arrays import read_arrays
from nndefense.core.seals import fault
from nndefense.report.curves import looks_of
from nndefense.report.dictionaries import class_name, dictionary_names, short_name
from nndefense.report.legends import TEXT, handle
from nndefense.report.names import Params, class_names
from nndefense.report.piece import FIGURE, Files, Made, Piece
from nndefense.report.select import Row
from nndefense.report.sheet import arrange
from nndefense.report.style import COLUMN, is_narrow, points, pyplot, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nndefense.dictionaries.stored_clusters import StoredClusters

COLUMNS = ("dictionary", "class", "step", "objective")
SHOWN, ACROSS, EACH = 8, 4, 2  # dictionaries, in a row, and clusters of a class
WIDTH, BLOCK, CURVES = 9.6, 2.55, 2.6  # inches
MARKED, WINDOWS = 12, 10


@dataclass(frozen=True)
class Dictionary:
    """A dictionary.

    Attributes:
        name: of its cluster. label: of the cluster's class, "" for all images.
        images: that it could be learnt from.
        filters: (M, C, s, s).
        objectives: of each batch while it was learnt, (steps,).
    """

    name: str
    label: str
    images: int
    filters: np.ndarray
    objectives: np.ndarray


def read_dictionaries(path: str, clusters: StoredClusters, names: Sequence[str]) -> list[Dictionary]:
    """The dictionary of all images, and those of clusters that `chosen_clusters` names.

    Args:
        path: of the dictionaries of all clusters.
        clusters: that they are of.
        names: of classes.

    Raises:
        FileFault: dictionaries of other clusters.
    """
    stored = read_arrays(path, "filters", "objectives")
    filters, objectives, classes = stored["filters"], stored["objectives"], clusters.classes.tolist()
    count = len(classes) + 1
    if filters.ndim != 5 or objectives.ndim != 2 or not len(filters) == len(objectives) == count:
        shapes = f"filters {filters.shape} and objectives {objectives.shape}"
        raise fault(path, f"{shapes} do not fit {count - 1} clusters; needed: one of each, and one of all images")
    called = dictionary_names(classes, names)
    sizes = [*clusters.sizes.tolist(), int(clusters.sizes.sum())]
    labels = [*(class_name(names, label) for label in classes), ""]
    places = [count - 1, *chosen_clusters(classes)]
    return [Dictionary(called[one], labels[one], sizes[one], filters[one], objectives[one]) for one in places]


def chosen_clusters(classes: Sequence[int]) -> list[int]:
    """Places of the clusters that are shown: two of each class that has several, then those of other classes."""
    own: dict[int, list[int]] = {}
    for place, label in enumerate(classes):
        own.setdefault(label, []).append(place)
    groups = sorted(own.values(), key=lambda places: len(places) == 1)
    return [place for places in groups for place in places[:EACH]][: SHOWN - 1]


def coarseness(filters: np.ndarray) -> np.ndarray:
    """Mean spatial frequency of filters (M, C, s, s), weighted by energy, in cycles per pixel: (M,)."""
    size = filters.shape[-1]
    # Padded, because a filter is no period of anything.
    power = np.square(np.abs(np.fft.fft2(filters.astype(np.float64), s=(4 * size, 4 * size)))).sum(axis=1)
    axis = np.fft.fftfreq(4 * size)
    frequency = np.hypot(axis[:, None], axis)
    return (power * frequency).sum(axis=(1, 2)) / np.maximum(power.sum(axis=(1, 2)), np.finfo(float).tiny)


def tiles(filters: np.ndarray) -> np.ndarray:
    """Filters (M, 3, s, s) as a sheet, from coarse to fine, each in units of its own largest value around mid grey."""
    ordered = filters[np.argsort(coarseness(filters), kind="stable")]
    largest = np.maximum(np.abs(ordered).max(axis=(1, 2, 3), keepdims=True), np.finfo(np.float32).tiny)
    pixels = np.rint(127.5 + 127.5 * ordered / largest).astype(np.uint8).transpose(0, 2, 3, 1)
    columns = ceil(sqrt(len(pixels)))
    return arrange([pixels[start : start + columns] for start in range(0, len(pixels), columns)], gap=1)


def draw_filters(dictionaries: Sequence[Dictionary]) -> Figure:
    """A sheet of tiles per dictionary above the curves of their objectives."""
    across, width, block, curves = ACROSS, WIDTH, BLOCK, CURVES
    if is_narrow():
        # As large as tiles are; the legend stands below.
        across, width, block, curves = ACROSS // 2, COLUMN, 1.95, 1.8 + 0.15 * ceil(len(dictionaries) / 2)
    down = ceil(len(dictionaries) / across)
    plt = pyplot()
    with plt.rc_context(style()):
        figure = plt.figure(figsize=(width, down * block + curves))
        above, below = figure.subfigures(2, 1, height_ratios=(down * block, curves))
        _draw_curves(below, dictionaries)
    with plt.rc_context(style(**{"axes.grid": False})):
        panels = above.subplots(down, across, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, one in zip(panels.flat, dictionaries, strict=False):
        axes.imshow(tiles(one.filters), interpolation="nearest")
        axes.set_title(f"{short_name(one.name)}\n{one.images:,} images", fontsize=points(TEXT))
    return figure


def _draw_curves(figure: SubFigure, dictionaries: Sequence[Dictionary]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes: Axes = figure.subplots()
    steps = np.arange(1, len(dictionaries[0].objectives) + 1)
    # By place: two classes may have one name.
    looks = looks_of(range(len(dictionaries)))
    window, every = max(1, len(steps) // WINDOWS), max(1, -(-len(steps) // MARKED))
    for one, look in zip(dictionaries, looks.values(), strict=True):
        axes.plot(
            steps, running_mean(one.objectives, window), markevery=every, **look | {"linewidth": 1, "clip_on": False}
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Batch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel("Objective" + (f", mean of {window} batches" if window > 1 else ""))
    handles = [handle(short_name(one.name), **look) for one, look in zip(dictionaries, looks.values(), strict=True)]
    place: dict[str, Any] = {"loc": "outside right center"}
    if is_narrow():
        place = {"loc": "outside lower center", "ncols": 2}
    figure.legend(handles=handles, frameon=False, fontsize=points(TEXT), **place)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each of these values (n,) and those before it, `window` in all where there are as many."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - window, 0)
    return (sums[stop] - sums[start]) / (stop - start)


def objective_rows(dictionaries: Sequence[Dictionary]) -> list[Row]:
    """The curves as rows of COLUMNS."""
    return [
        {"dictionary": one.name, "class": one.label, "step": step, "objective": float(value)}
        for one in dictionaries
        for step, value in enumerate(one.objectives, 1)
    ]


@dataclass(frozen=True, kw_only=True)
class Filters(Piece):
    """The figure."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        from nndefense.dictionaries.stored_clusters import read_clusters

        names = class_names(files["learnt"][0])
        found = read_dictionaries(files["dictionaries"][0], read_clusters(files["clusters"][0]), names)
        return Made(objective_rows(found), COLUMNS, figure=draw_filters(found))


PIECE = Filters(
    name="srd/dictionaries",
    called="Dictionaries",
    category="Semantic dictionaries",
    title="Dictionaries of some clusters, and of all images",
    varies="cluster, batch",
    shows=f"At most {SHOWN} dictionaries, the one of all images first. A tile is a colour filter, in units of its own "
    "largest value around mid grey; they stand from coarse to fine, by mean spatial frequency. Below, the objective "
    "while they were learnt, a running mean: half the squared error of the high band, plus the weighted absolute "
    "values of its code, for each batch of images before the filters followed it.",
    source="nndefense.report.dictionary_figure_sources:filters",
    attack="",
    settings=(),
)
