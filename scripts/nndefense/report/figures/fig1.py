"""Figure 1, the paper's schematic: an attacked image, its nearest database images, and what they vote for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.report.illustration import (
    choose_query,
    query_title,
    read_scene,
    shortened,
    shown_image,
    weights_of,
)
from nndefense.report.names import Params, thousands
from nndefense.report.piece import FIGURE, VOTE, Files, Made, Piece
from nndefense.report.style import STYLE, pyplot, shades
from nndefense.retrieval.votes import vote_neighbors, vote_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("queries", "label", "class", "undefended", "vote")
WIDTH, HEIGHT = 10.6, 3.5  # inches
CLASSES = 6  # shown
WORDS = {"soft": "their softmax rows,\naveraged", "hard": "their classes,\ncounted"}
SMALL = 8.5


@dataclass(frozen=True)
class Story:
    """What the schematic tells.

    Attributes:
        clean, attacked: (H, W, 3), the test image. title: how it was attacked. label: its true class.
        neighbors: (K, H, W, 3) uint8, nearest first. voices: (K,) the class that each stands for.
        names: class names. undefended, vote: (C,) probabilities without and with the defence.
        layer: what neighbours are compared by. database: its name.
        combination, weighting: of the vote.
    """

    clean: np.ndarray
    attacked: np.ndarray
    title: str
    label: int
    neighbors: np.ndarray
    voices: np.ndarray
    names: Sequence[str]
    undefended: np.ndarray
    vote: np.ndarray
    layer: str
    database: str
    combination: str
    weighting: str


def draw_fig1(story: Story) -> Figure:
    """From left to right: the test image, its nearest images, the vote; arrows name the steps between."""
    plt = pyplot()
    with plt.rc_context(STYLE | {"axes.grid": False, "figure.constrained_layout.use": False}):
        figure = plt.figure(figsize=(WIDTH, HEIGHT))
        _draw_query(figure, story)
        _arrow(figure, (1.72, 1.75), (2.95, 1.75), f"features\n({story.layer})", "nearest\nin feature space")
        _draw_neighbors(figure, story)
        _arrow(figure, (6.2, 1.75), (7.3, 1.75), f"{WORDS[story.combination]} ({story.weighting})")
        _draw_bars(_box(figure, 8.55, 0.75, 1.9, 2.0), story)
    return figure


def _box(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    return figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _draw_query(figure: Figure, story: Story) -> None:
    for image, bottom in ((story.clean, 2.2), (story.attacked, 0.62)):
        shown_image(_box(figure, 0.35, bottom, 0.95, 0.95), image)
    said = shortened(story.names[int(story.undefended.argmax())])
    _text(figure, 0.82, 3.22, f"clean: {shortened(story.names[story.label])}", weight="bold")
    _text(figure, 0.82, 0.56, f"the network says\n{said}", va="top")
    arrow = {"arrowstyle": "-|>", "mutation_scale": 10, "linewidth": 1.2, "color": "0.25"}
    _line(figure, (0.3, 2.15), (0.3, 1.62), arrow)
    _text(figure, 0.38, 1.89, ", ".join(story.title.split("\n")).replace(", Δ", "\nΔ"), ha="left", va="center")


def _draw_neighbors(figure: Figure, story: Story) -> None:
    """A grid of images; the frames of those that stand for the true class are dark and solid, of others dotted."""
    count = len(story.neighbors)
    side = 2.5
    # As square as the images allow.
    height, width = story.neighbors.shape[1:3]
    columns = int(np.ceil(np.sqrt(count * 1.2 * height / width)))
    lines = -(-count // columns)
    step = min(3.0 / columns, side / (lines * height / width))
    top = 1.75 + lines * step * height / width / 2
    left = 4.55 - columns * step / 2
    dark = shades(2)[1]
    for place, (image, voice) in enumerate(zip(story.neighbors, story.voices, strict=True)):
        line, column = divmod(place, columns)
        down = (line + 1) * step * height / width
        axes = _box(figure, left + column * step, top - down, 0.84 * step, 0.84 * step * height / width)
        shown_image(axes, image)
        right = voice == story.label
        axes.spines[:].set(visible=True, color=dark if right else "0.6", linewidth=1.8 if right else 0.8)
        axes.spines[:].set_linestyle("-" if right else ":")
    _text(figure, 4.55, top + 0.1, f"the {count} nearest images of {story.database}")
    agreeing = int((story.voices == story.label).sum())
    _text(
        figure,
        4.55,
        top - lines * step * height / width - 0.06,
        f"dark frame: stands for {shortened(story.names[story.label])} ({agreeing} of {count})",
        va="top",
    )


def _draw_bars(axes: Axes, story: Story) -> None:
    shown = np.argsort(-np.maximum(story.vote, story.undefended), kind="stable")[:CLASSES]
    # The true class is told about whatever its share.
    shown = shown if story.label in shown else np.append(shown[:-1], story.label)
    places = np.arange(len(shown))
    axes.barh(places - 0.2, story.vote[shown], 0.38, color=shades(2)[1], label="the vote")
    axes.barh(places + 0.2, story.undefended[shown], 0.38, color="0.85", edgecolor="0.4", label="network alone")
    axes.set_yticks(places, [shortened(story.names[number]) for number in shown], fontsize=SMALL)
    for text, number in zip(axes.get_yticklabels(), shown, strict=True):
        text.set_fontweight("bold" if number == story.label else "normal")
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of a class, attacked image", fontsize=SMALL)
    axes.set_title(
        f"the defence says {shortened(story.names[int(story.vote.argmax())])}", fontsize=SMALL + 0.5, fontweight="bold"
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.22), ncols=2, fontsize=8, columnspacing=1, handlelength=1.2)


def _arrow(figure: Figure, start: tuple[float, float], stop: tuple[float, float], above: str, below: str = "") -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 14, "linewidth": 1.6, "color": "0.25"}
    _line(figure, start, stop, style)
    _text(figure, (start[0] + stop[0]) / 2, start[1] + 0.12, above)
    _text(figure, (start[0] + stop[0]) / 2, start[1] - 0.12, below, va="top")


def _line(figure: Figure, start: tuple[float, float], stop: tuple[float, float], style: dict[str, Any]) -> None:
    from matplotlib.patches import FancyArrowPatch

    ends = [(x / WIDTH, y / HEIGHT) for x, y in (start, stop)]
    figure.add_artist(FancyArrowPatch(*ends, transform=figure.transFigure, shrinkA=0, shrinkB=0, **style))


def _text(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    figure.text(x / WIDTH, y / HEIGHT, text, **{"ha": "center", "va": "bottom", "fontsize": SMALL, **look})


def story_rows(story: Story) -> list[dict[str, Any]]:
    """The figure as rows of COLUMNS: every class."""
    common = {"queries": " ".join(story.title.split("\n")), "label": story.names[story.label]}
    return [
        {**common, "class": name, "undefended": float(alone), "vote": float(together)}
        for name, alone, together in zip(story.names, story.undefended, story.vote, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Schematic(Piece):
    """The schematic, of this run's own images."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        scene = read_scene(files, params)
        clean, last, key = scene.shown[0], scene.shown[-1], (params["neighbors"], *(params[name] for name in VOTE))
        votes, _ = vote_neighbors(
            scene.store.take,
            last.ids,
            classes=scene.store.classes,
            neighbors=[key[0]],
            weightings=[key[1]],
            combinations=[key[2]],
        )
        place = choose_query(scene.labels, [one.predicted for one in scene.shown], votes[key])
        ids = last.ids[place, : params["neighbors"]]
        ids = ids[ids >= 0]
        softmax, weights = weights_of(scene.store, ids, params["weighting"])
        shares = vote_shares(softmax[None], weights[None], params["combination"])
        story = Story(
            clean=clean.image(place),
            attacked=last.image(place),
            title=query_title(last.queries, params),
            label=int(scene.labels[place]),
            neighbors=scene.database.read(ids).images,
            voices=softmax.argmax(1),
            names=scene.class_names,
            undefended=last.softmax[place].astype(np.float64),
            vote=shares[0].astype(np.float64),
            layer=params["features"],
            database=f"{params['pool']}-{thousands(params['size'])}",
            combination=params["combination"],
            weighting=params["weighting"],
        )
        return Made(story_rows(story), COLUMNS, figure=draw_fig1(story))


PIECE = Schematic(
    name="fig1",
    category="Figures",
    title="How the defence works, on an image of this run",
    varies="none",
    shows="From an attacked image to its features, to the nearest images in the largest database, to the class that "
    "they vote for. Bold: the true class. The image is the first that the largest budget takes from the network alone "
    "and the vote gives back; without such an image, the first that it takes from the network, or that the network has "
    "right when clean: an illustration, no evidence.",
    paper="a schematic of the defence",
    source="nndefense.report.sources:illustration",
    single=True,
    fixed=("features", "neighbors", *VOTE),
    uses=("pool",),
)
