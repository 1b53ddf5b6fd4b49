"""Figure 1, the paper's schematic: an attacked image, its nearest database images, and what they vote for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nndefense.report.illustration import base_vote, choose_query, query_title, read_scene, shortened, shown_image
from nndefense.report.names import Params, thousands
from nndefense.report.piece import FIGURE, VOTE, Files, Made, Piece
from nndefense.report.style import COLUMN, is_narrow, points, pyplot, shades, style
from nndefense.retrieval.votes import vote_neighbors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("queries", "label", "class", "undefended", "vote")
CLASSES = 6  # shown
SIDE = 0.95  # inches of a test image
WORDS = {"soft": "their softmax rows,\naveraged", "hard": "their classes,\ncounted"}
SMALL = 8.5
Point = tuple[float, float]


class Places(NamedTuple):
    """Where the parts stand, in inches from the left and lower edge.

    Attributes:
        size: of the figure. clean, attacked: corners of the test image. neighbors, room: centre and size of their grid.
        perturb, words: arrow from the one to the other, and its text. seek, vote: arrows between the parts.
        bars: corner and size of the shares.
    """

    size: Point
    clean: Point
    attacked: Point
    perturb: tuple[Point, Point]
    words: Point
    seek: tuple[Point, Point]
    neighbors: Point
    room: Point
    vote: tuple[Point, Point]
    bars: tuple[float, float, float, float]


# From left to right; in a column from top to bottom.
WIDE = Places(
    size=(10.6, 3.5), clean=(0.35, 2.2), attacked=(0.35, 0.62), perturb=((0.3, 2.15), (0.3, 1.62)), words=(0.38, 1.89),
    seek=((1.72, 1.75), (2.95, 1.75)), neighbors=(4.55, 1.75), room=(3.0, 2.5), vote=((6.2, 1.75), (7.3, 1.75)),
    bars=(8.55, 0.75, 1.9, 2.0),
)  # fmt: skip
NARROW = Places(
    size=(COLUMN, 7.1), clean=(0.2, 5.85), attacked=(2.15, 5.85), perturb=((1.22, 6.32), (2.08, 6.32)),
    words=(1.65, 6.42), seek=((1.0, 5.6), (1.0, 5.0)), neighbors=(1.65, 3.7), room=(3.0, 2.0),
    vote=((1.0, 2.4), (1.0, 1.95)), bars=(1.1, 0.7, 2.0, 1.05),
)  # fmt: skip


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
    """The test image, its nearest images, the vote; arrows name the steps between."""
    plt, places = pyplot(), NARROW if is_narrow() else WIDE
    with plt.rc_context(style(**{"axes.grid": False})):
        figure = plt.figure(figsize=places.size)
        # A figure that is made without a layout is given one by its first file.
        figure.set_layout_engine("none")
        _draw_query(figure, story, places)
        _arrow(figure, places.seek, f"features\n({story.layer})", "nearest\nin feature space")
        _draw_neighbors(figure, story, places)
        _arrow(figure, places.vote, f"{WORDS[story.combination]} ({story.weighting})")
        _draw_bars(_box(figure, *places.bars), story, places.bars[3])
    return figure


def _box(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _draw_query(figure: Figure, story: Story, places: Places) -> None:
    for image, corner in ((story.clean, places.clean), (story.attacked, places.attacked)):
        shown_image(_box(figure, *corner, SIDE, SIDE), image)
    said = shortened(story.names[int(story.undefended.argmax())])
    middles = [left + SIDE / 2 for left, _ in (places.clean, places.attacked)]
    above, below = places.clean[1] + SIDE + 0.07, places.attacked[1] - 0.06
    _text(figure, middles[0], above, f"clean: {shortened(story.names[story.label])}", weight="bold")
    _text(figure, middles[1], below, f"the network says\n{said}", va="top")
    _line(figure, places.perturb, {"arrowstyle": "-|>", "mutation_scale": 10, "linewidth": 1.2, "color": "0.25"})
    look: dict[str, Any] = {} if _across(places.perturb) else {"ha": "left", "va": "center"}
    _text(figure, *places.words, ", ".join(story.title.split("\n")).replace(", Δ", "\nΔ"), **look)


def _draw_neighbors(figure: Figure, story: Story, places: Places) -> None:
    """A grid of images; the frames of those that stand for the true class are dark and solid, of others dotted."""
    count, (middle, centre), (room, side) = len(story.neighbors), places.neighbors, places.room
    # As square as the images allow.
    height, width = story.neighbors.shape[1:3]
    columns = int(np.ceil(np.sqrt(count * 1.2 * height / width)))
    lines = -(-count // columns)
    step = min(room / columns, side / (lines * height / width))
    top = centre + lines * step * height / width / 2
    left = middle - columns * step / 2
    dark = shades(2)[1]
    for place, (image, voice) in enumerate(zip(story.neighbors, story.voices, strict=True)):
        line, column = divmod(place, columns)
        down = (line + 1) * step * height / width
        axes = _box(figure, left + column * step, top - down, 0.84 * step, 0.84 * step * height / width)
        shown_image(axes, image)
        right = voice == story.label
        axes.spines[:].set(visible=True, color=dark if right else "0.6", linewidth=1.8 if right else 0.8)
        axes.spines[:].set_linestyle("-" if right else ":")
    _text(figure, middle, top + 0.1, f"the {count} nearest images of {story.database}")
    agreeing = int((story.voices == story.label).sum())
    _text(
        figure,
        middle,
        top - lines * step * height / width - 0.06,
        f"dark frame: stands for {shortened(story.names[story.label])} ({agreeing} of {count})",
        va="top",
    )


def _draw_bars(axes: Axes, story: Story, height: float) -> None:
    shown = np.argsort(-np.maximum(story.vote, story.undefended), kind="stable")[:CLASSES]
    # The true class is told about whatever its share.
    shown = shown if story.label in shown else np.append(shown[:-1], story.label)
    places = np.arange(len(shown))
    axes.barh(places - 0.2, story.vote[shown], 0.38, color=shades(2)[1], label="the vote")
    axes.barh(places + 0.2, story.undefended[shown], 0.38, color="0.85", edgecolor="0.4", label="network alone")
    axes.set_yticks(places, [shortened(story.names[number]) for number in shown], fontsize=points(SMALL))
    for text, number in zip(axes.get_yticklabels(), shown, strict=True):
        text.set_fontweight("bold" if number == story.label else "normal")
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of a class, attacked image", fontsize=points(SMALL))
    said = shortened(story.names[int(story.vote.argmax())])
    axes.set_title(f"the defence says {said}", fontsize=points(SMALL + 0.5), fontweight="bold")
    look = {"ncols": 2, "fontsize": points(8), "columnspacing": 1, "handlelength": 1.2}
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.44 / height), **look)


def _across(ends: tuple[Point, Point]) -> bool:
    return ends[0][1] == ends[1][1]


def _arrow(figure: Figure, ends: tuple[Point, Point], above: str, below: str = "") -> None:
    """An arrow with words above and below it, or all of them at its right where it points down."""
    _line(figure, ends, {"arrowstyle": "-|>", "mutation_scale": 14, "linewidth": 1.6, "color": "0.25"})
    x, y = (sum(one) / 2 for one in zip(*ends, strict=True))
    if _across(ends):
        _text(figure, x, y + 0.12, above)
        _text(figure, x, y - 0.12, below, va="top")
    else:
        words = [" ".join(one.split("\n")) for one in (above, below) if one]
        _text(figure, x + 0.12, y, "\n".join(words), ha="left", va="center")


def _line(figure: Figure, ends: tuple[Point, Point], look: dict[str, Any]) -> None:
    from matplotlib.patches import FancyArrowPatch

    across, up = figure.get_size_inches()
    shares = [(x / across, y / up) for x, y in ends]
    figure.add_artist(FancyArrowPatch(*shares, transform=figure.transFigure, shrinkA=0, shrinkB=0, **look))


def _text(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    across, up = figure.get_size_inches()
    figure.text(x / across, y / up, text, **{"ha": "center", "va": "bottom", "fontsize": points(SMALL), **look})


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
        softmax, shares = base_vote(scene.store, ids, params)
        story = Story(
            clean=clean.image(place),
            attacked=last.image(place),
            title=query_title(last.queries, params),
            label=int(scene.labels[place]),
            neighbors=scene.database.read(ids).images,
            voices=softmax.argmax(1),
            names=scene.class_names,
            undefended=last.softmax[place].astype(np.float64),
            vote=shares.astype(np.float64),
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
