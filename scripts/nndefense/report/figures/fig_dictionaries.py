"""Defences compared by section `dictionaries`: accuracy by budget, and images as the dictionaries purify them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.axes.cells import NO_DEFENSE
from nndefense.axes.queries import Pack
from nndefense.axes.threat import ADAPTIVE
from nndefense.core.arrays import read_arrays
from nndefense.core.seals import fault
from nndefense.evaluation.outcomes import read_outcomes
from nndefense.report.claims.adaptive import outcomes_on
from nndefense.report.claims.dictionaries import GRAY
from nndefense.report.claims.outcomes import outcomes_of
from nndefense.report.curves import mark_chance, tell_tested
from nndefense.report.dictionaries import COLUMNS, class_name, compared_rows, dictionary_names, short_name
from nndefense.report.illustration import query_title, shortened, shown_image
from nndefense.report.legends import TEXT, handle
from nndefense.report.names import Params, attack_name, class_names, defense_name
from nndefense.report.piece import FIGURE, Files, Made, Piece
from nndefense.report.select import Rows, distinct, matching
from nndefense.report.style import (
    COLUMN,
    MARKERS,
    PANEL,
    is_narrow,
    label_panels,
    points,
    pyplot,
    shades,
    style,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

KIND = "srd"
BARE = {"color": "0.0", "marker": "x", "linestyle": ":"}
DASHES = ("--", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
SHOWN, BLOCKS = 6, 2  # images, and of them side by side
HIGH = "high band"
STAGES = ("image", "attacked", "low band", HIGH, "purified")
WIDTH, CURVES, CELL, UNDER, SMALL = 9.6, 3.5, 0.86, 0.27, 7.5  # inches, but for the last: points
LETTERS, LINE = 30, 0.2  # of a line of the legend: letters, inches
FITTING = 14  # letters below an image
AMPLIFIED = (1, 2, 3, 4, 5, 8, 10, 20, 50, 100)


@dataclass(frozen=True)
class Sheet:
    """Attacked images and what a defence makes of them, q each.

    Attributes:
        images: by stage of STAGES, (q, H, W, 3) in [0, 1]; the high band is signed.
        labels, undefended, defended: (q,) classes: true ones, answers to the attacked images without the defence and
            with it.
        chosen: names of the dictionaries.
    """

    images: dict[str, np.ndarray]
    labels: np.ndarray
    undefended: np.ndarray
    defended: np.ndarray
    chosen: Sequence[str]


def read_sheet(path: str, dictionaries: Sequence[str]) -> Sheet:
    """The first images of a file of purified ones; dictionaries: their names.

    Raises FileFault for arrays that do not fit each other, or a dictionary that there is none of.
    """
    parts = ("clean/images", *(f"attacked/{part}" for part in ("images", "low", "high", "purified")))
    members = dict(zip(STAGES, parts, strict=True))
    single = ("labels", "attacked/cluster", "attacked/undefended", "attacked/defended")
    stored = {name: one[:SHOWN] for name, one in read_arrays(path, *members.values(), *single).items()}
    shape = stored["clean/images"].shape
    if len(shape) != 4 or not shape[0]:
        raise fault(path, f"holds no images, but an array of shape {shape}")
    for name, one in stored.items():
        if one.shape != (shape[:1] if name in single else shape):
            raise fault(path, f"{name} has shape {one.shape}, beside images of shape {shape}")
    labels, chosen, undefended, defended = (stored[name] for name in single)
    if chosen.min() < 0 or chosen.max() >= len(dictionaries):
        raise fault(path, f"dictionaries are {chosen.min()} to {chosen.max()}; allowed: 0 to {len(dictionaries) - 1}")
    images = {stage: stored[member].transpose(0, 2, 3, 1) for stage, member in members.items()}
    return Sheet(images, labels, undefended, defended, [dictionaries[place] for place in chosen])


def draw_dictionaries(rows: Rows, sheet: Sheet, names: Sequence[str], params: Params) -> Figure:
    """Draw the rows of `compared_rows` above a sheet of images; names: of classes."""
    blocks = 1 if is_narrow() else BLOCKS
    lines = ceil(len(sheet.labels) / blocks)
    width, cell = (COLUMN, COLUMN / (len(STAGES) + 0.5)) if is_narrow() else (WIDTH, CELL)
    below = lines * (cell + UNDER) + 0.6
    looking = looks(distinct(rows, "defense"), params)
    labels = {name: fill(_label(name, params), LETTERS) for name in looking}
    # Long labels need more than the panels do; in a column they stand below these.
    listed = 0.4 + LINE * len("\n".join(labels.values()).splitlines())
    curves = 2 * PANEL + listed if is_narrow() else max(CURVES, listed)
    plt = pyplot()
    with plt.rc_context(style()):
        figure = plt.figure(figsize=(width, curves + below))
        above, under = figure.subfigures(2, 1, height_ratios=(curves, below))
        chance = _draw_curves(above, rows, looking, params)
        tell_tested(above, [{**row, "model": params["model"]} for row in rows])
        handles = [handle(labels[name], **look) for name, look in looking.items()] + chance
        place = "outside lower center" if is_narrow() else "outside right center"
        above.legend(handles=handles, loc=place, frameon=False, fontsize=points(TEXT))
    with plt.rc_context(style(**{"axes.grid": False})):
        _draw_sheet(under, sheet, names, lines, blocks)
        under.suptitle(wrapped(sheet_title(params), 60), x=0.005, ha="left", fontsize=points(TEXT + 1))
    return figure


def looks(defenses: Sequence[str], params: Params) -> dict[str, dict[str, Any]]:
    """How lines look: no defence dotted, purifiers by dictionaries solid and in colour, all others dashed and grey."""
    kinds = params["defense_kinds"]
    ours = [name for name in defenses if kinds.get(name) == KIND]
    others = [name for name in defenses if name not in ours and name != NO_DEFENSE]
    found: dict[str, dict[str, Any]] = {NO_DEFENSE: dict(BARE)}
    for place, name in enumerate(others):
        tone = 0.35 + 0.3 * place / max(1, len(others) - 1)
        dashes, marker = DASHES[place % len(DASHES)], MARKERS[place % len(MARKERS)]
        found[name] = {"color": f"{tone:.2f}", "marker": marker, "linestyle": dashes, "mfc": "white", "linewidth": 1}
    for place, (name, colour) in enumerate(zip(ours, shades(len(ours) + 1)[1:], strict=True)):
        found[name] = {"color": colour, "marker": MARKERS[place % len(MARKERS)], "linestyle": "-"}
    return {name: found[name] for name in defenses}


# -- curves


def _draw_curves(figure: SubFigure, rows: Rows, looking: dict[str, dict[str, Any]], params: Params) -> list[Line2D]:
    """Two panels of curves; their entries of a legend besides the defences."""
    panels = figure.subplots(2, 1, sharey=True) if is_narrow() else figure.subplots(1, 2, sharey=True)
    titles = {
        GRAY: f"{attack_name(params['attack'], params)} on the bare network",
        ADAPTIVE: "The worst of attacks through the defence",
    }
    budgets = sorted({0.0, *params["epsilons"]})
    for axes, (setting, title) in zip(panels, titles.items(), strict=True):
        shown = matching(rows, setting=setting)
        _draw_panel(axes, shown, budgets, looking)
        counts = ", ".join(f"{n:,}" for n in distinct(shown, "n"))
        axes.set_title(f"{title}\n{counts} test images" if counts else title, fontsize=points(TEXT))
        axes.set_xticks(range(len(budgets)), ["clean", *(f"{one:g}" for one in budgets[1:])])
        axes.set_xlabel("Distance Δ, not to scale")
    label_panels(panels, "Accuracy")
    panels[0].set_ylim(0, 1)
    return mark_chance(panels, params)


def _draw_panel(axes: Axes, rows: Rows, budgets: Sequence[float], looking: dict[str, dict[str, Any]]) -> None:
    """A line per defence, beside each other at every budget, so that no interval hides another."""
    step = min(0.06, min(0.45, 0.11 * len(budgets)) / len(looking))
    for place, (name, look) in enumerate(looking.items()):
        own = matching(rows, defense=name)
        if not own:
            continue
        heights = np.array([row["accuracy"] for row in own])
        ends = np.array([(row["ci_low"], row["ci_high"]) for row in own])
        places = [budgets.index(row["epsilon"]) + step * (place - (len(looking) - 1) / 2) for row in own]
        axes.errorbar(places, heights, np.abs(ends - heights[:, None]).T, elinewidth=0.8, clip_on=False, **look)


def _label(defense: str, params: Params) -> str:
    return "No defence" if defense == NO_DEFENSE else defense_name(defense, params)


# -- images


def amplification(high: np.ndarray) -> int:
    """How much high bands (..., H, W, 3) can be multiplied by before more than 1 in 50 values leaves the range."""
    largest = float(np.quantile(np.abs(high), 0.98))
    return max((one for one in AMPLIFIED if one * largest <= 0.5), default=1)


def _draw_sheet(figure: SubFigure, sheet: Sheet, names: Sequence[str], lines: int, blocks: int) -> None:
    times = amplification(sheet.images[HIGH])
    heads = {stage: f"{stage} × {times}" if stage == HIGH and times > 1 else stage for stage in STAGES}
    ratios = [*[1] * len(STAGES), *[0.15, *[1] * len(STAGES)] * (blocks - 1)]
    grid = figure.subplots(lines, len(ratios), squeeze=False, gridspec_kw={"width_ratios": ratios})
    for axes in grid.flat:
        axes.set_axis_off()
    for number in range(len(sheet.labels)):
        line, block = number % lines, number // lines
        cells = grid[line][block * (len(STAGES) + 1) :][: len(STAGES)]
        under = _answers(sheet, number, names)
        for axes, (stage, images) in zip(cells, sheet.images.items(), strict=True):
            axes.set_axis_on()
            shown = 0.5 + times * images[number] if stage == HIGH else images[number]
            shown_image(axes, shown.clip(0, 1))
            text, look = under.get(stage, ("", {}))
            # Long names are set in smaller letters, not onto each other.
            axes.set_xlabel(text, fontsize=points(SMALL * min(1, FITTING / max(1, len(text)))), labelpad=2, **look)
            axes.set_title(heads[stage] if line == 0 else "", fontsize=points(SMALL + 0.5))


def sheet_title(params: Params) -> str:
    """What the images are attacked by, and what purifies them."""
    ((queries,), defense) = Pack.parse(params["images"]), _label(params["shown"], params)
    return f"Images under {', '.join(query_title(queries, params).splitlines())}, purified by {defense}"


def _answers(sheet: Sheet, number: int, names: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Texts under the stages of an image, and how they look."""
    label = int(sheet.labels[number])
    found = {
        "image": (shortened(class_name(names, label)), {}),
        HIGH: (short_name(sheet.chosen[number]), {"color": "0.35"}),
    }
    for stage, answers in (("attacked", sheet.undefended), ("purified", sheet.defended)):
        right = int(answers[number]) == label
        look = {"fontweight": "bold"} if right else {"fontstyle": "italic", "color": "0.35"}
        name = shortened(class_name(names, int(answers[number])))
        found[stage] = (f"{'✓' if right else '✗'} {name}", look)
    return found


@dataclass(frozen=True, kw_only=True)
class Compared(Piece):
    """The figure."""

    kind: str = FIGURE

    def make(self, files: Files, params: Params) -> Made:
        from nndefense.dictionaries.stored_clusters import read_clusters

        names = class_names(files["task"][0])
        classes = read_clusters(files["clusters"][0]).classes.tolist()
        sheet = read_sheet(files["purified"][0], dictionary_names(classes, names))
        answers = read_outcomes(files["predictions"], params["root"])
        through = read_outcomes(files.get("through", []), params["root"])
        rows = compared_rows(outcomes_of(answers, params), outcomes_on(answers, through, params), params)
        return Made(rows, COLUMNS, figure=draw_dictionaries(rows, sheet, names, params))


PIECE = Compared(
    name="srd/fig",
    called="SRD figure",
    category="Semantic dictionaries",
    title="Purification by semantic dictionaries and its comparators, by budget",
    varies="defence, budget Δ",
    shows="Above, accuracy of each defence: left within budgets of the base attack on the bare network, which knows "
    "of no defence; right in the worst of the attacks through the defence itself, where an image counts as right only "
    "if it is right under each of them, and clean is of the same images. Solid: by dictionaries; dashed: comparators; "
    "dotted: no defence. Bars: 95 % Wilson intervals. Below, test images before and after the attack, the bands that "
    "the attacked ones are split into (the high one around mid grey, amplified as it says), and what becomes of them "
    "by the dictionary that is named below the high band. ✓ right and ✗ wrong answers: of the network to the attacked "
    "image, of the defence to the purified one. The images are an illustration, no evidence.",
    source="nndefense.report.dictionary_figure_sources:figure",
    under="{attack} in the gray box, and attacks through each defence",
    settings=(),
    chance=True,
)
