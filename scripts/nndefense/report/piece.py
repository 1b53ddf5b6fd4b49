"""What a figure or table is: declared once, for the rule that makes it, the report, the pages and the README."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nndefense.attacks import ATTACKS
from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.core.errors import InputError
from nndefense.core.registry import load
from nndefense.defenses import DEFENSES
from nndefense.evaluation.accuracy import ACCURACY
from nndefense.evaluation.rows import COLUMNS, collect_rows
from nndefense.report.names import BOTH, SETTING_NAMES, Params
from nndefense.report.select import Row, Rows
from nndefense.report.worst import as_setting, read_worst

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nndefense.config import Config

Files = Mapping[str, Sequence[str]]

FIGURE, TABLE = "figure", "table"
VOTE = ("weighting", "combination")
QUERY_AXES = ("attack", "setting", "space", "epsilon")
BANDS = "Bands: 95 % Wilson intervals."
BARE = "Dotted: without a defence."


@dataclass(frozen=True)
class Inputs:
    """What a configuration gives a figure or table.

    Attributes:
        files: `<results>/...` paths by role.
        values: parameters besides base values and labels.
        attacks: those whose labels are printed, besides the piece's own.
        defenses: those whose labels are printed, as the configuration names them.
    """

    files: dict[str, list[str]]
    values: dict[str, Any] = field(default_factory=dict)
    attacks: Sequence[str] = ()
    defenses: Sequence[str] = ()


def by_role(roles: Sequence[str], files: Sequence[str]) -> dict[str, list[str]]:
    """Files by role; the role of each stands at its place. InputError for lists of different lengths."""
    if len(roles) != len(files):
        raise InputError(f"--roles has {len(roles)} entries, --files {len(files)}; allowed: one role per file")
    return {
        role: [file for one, file in zip(roles, files, strict=True) if one == role] for role in dict.fromkeys(roles)
    }


def collect_accuracy(paths: Sequence[str], params: Params) -> list[Row]:
    """Accuracy rows of several files, one file after the other; within a file, those of a query set together.

    So the order does not depend on how many budgets a file holds.

    Args:
        paths: of answers, or of rows (CSV).
        params: of the piece; `facts` of the run, where there are answers.
    """
    found = []
    for path in paths:
        sets: dict[tuple[Any, ...], list[Row]] = {}
        for row in collect_rows([path], ACCURACY, params.get("facts")):
            sets.setdefault(tuple(row[axis] for axis in QUERY_AXES), []).append(row)
        found += [row for rows in sets.values() for row in rows]
    return found


def with_worst(files: Files, params: Params) -> list[Row]:
    """Accuracy rows of files, and worst cases as rows of a setting of their own."""
    worst = read_worst(files.get("worst", []))
    return [*collect_accuracy(files["rows"], params), *as_setting(worst, params)]


@dataclass(frozen=True)
class Made:
    """A figure or table, made: rows of its CSV and their columns; a figure, or Markdown and LaTeX."""

    rows: Rows
    columns: Sequence[str] = COLUMNS
    figure: Figure | None = None
    markdown: str = ""
    latex: str = ""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A figure or a table.

    Attributes:
        name: of its files, e.g. fig5.
        kind: "figure" (csv, pdf, png) or "table" (csv, md, tex).
        category: in the report.
        title: what it shows. varies: the axes in it. shows: how to read it.
        paper: what the paper's own figure or table is of, if there is one.
        source: "module:function" of (config, piece) -> Inputs, or None where the configuration lacks the axes. By name,
            so that a job's code is what draws, not what plans.
        called: in the report, where its name does not say it.
        attack: of its attacked images; None: the base attack, "": there are none.
        under: words of the report on the attacks; {attack}: label of the piece's attack.
        settings: threat models in it. single: only the first of them that is configured.
        fixed: axes held at their base values. uses: further base values that it needs.
        chance: whether it shows what guessing among the classes gives, and so needs their number.
    """

    name: str
    kind: str
    category: str
    title: str
    varies: str
    shows: str
    source: str
    paper: str = ""
    called: str = ""
    attack: str | None = None
    under: str = "{attack}"
    settings: tuple[str, ...] = BOTH
    single: bool = False
    fixed: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    chance: bool = False

    @property
    def word(self) -> str:
        """Its name without folders, e.g. within that of its rule."""
        return self.name.replace("/", "_")

    @property
    def heading(self) -> str:
        """fig5 -> Figure 5, table1 -> Table 1, or what it is called."""
        found = re.fullmatch(r"(fig|table)(\d+)", self.name)
        return f"{'Figure' if found[1] == 'fig' else 'Table'} {found[2]}" if found else self.called or self.name

    def exists(self, config: Config) -> bool:
        """Whether the configuration has the axes for it."""
        return load(self.source)(config, self) is not None

    def files(self, config: Config) -> dict[str, list[str]]:
        """Input files by role, for a configuration that it exists in."""
        return dict(load(self.source)(config, self).files)

    def params(self, config: Config) -> dict[str, Any]:
        """What it uses of the configuration, as JSON: base values, labels of attacks and defences, its own values."""
        inputs: Inputs = load(self.source)(config, self)
        attack = [] if self.attack == "" else [self.attack or config.base.attack]
        axes = {*self.fixed, *self.uses, *(["attack", "space"] if attack else [])}
        found = {axis: getattr(config.base, axis) for axis in sorted(axes)} | ({"attack": attack[0]} if attack else {})
        if attacks := dict.fromkeys([*attack, *inputs.attacks]):
            found["attack_labels"] = {name: ATTACKS[name].label for name in attacks}
        if inputs.defenses:
            found |= defense_params(config, inputs.defenses)
        if self.chance:
            found["classes"] = config.classes
        if any(path.endswith(".npz") for path in inputs.files.get("rows", [])):
            found["facts"] = run_facts(config)
        return found | dict(inputs.values)

    def make(self, files: Files, params: Params) -> Made:
        """Make it of files, by role, and of what `params` gave."""
        raise NotImplementedError(self.name)


def run_facts(config: Config) -> dict[str, Any]:
    """What result rows say of the run that they are of."""
    return {"dataset": config.dataset, "seed": config.seed}


def defense_params(config: Config, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """`defense_labels` and `defense_kinds` of defences of a configuration, of no defence and of neighbours."""
    kinds = {NO_DEFENSE: NO_DEFENSE, NEIGHBORS: NEIGHBORS} | {name: config.defenses[name].kind for name in names}
    labels = {}
    for name, kind in kinds.items():
        own = config.defenses[name].label if name in config.defenses else None
        labels[name] = own or DEFENSES[kind].label + ("" if name == kind else f" ({name})")
    twice = [name for name, label in labels.items() if list(labels.values()).count(label) > 1]
    return {"defense_labels": labels | {name: f"{labels[name]} ({name})" for name in twice}, "defense_kinds": kinds}


@dataclass(frozen=True, kw_only=True)
class RowFigure(Piece):
    """A figure of accuracy rows.

    Attributes:
        select: rows that it shows. draw: the figure of them.
    """

    kind: str = FIGURE
    select: Callable[[Rows, Params], list[Row]]
    draw: Callable[[Rows, Params], Figure]

    def make(self, files: Files, params: Params) -> Made:
        rows = self.select(collect_accuracy(files["rows"], params), params)
        return Made(rows, figure=self.draw(rows, params))


@dataclass(frozen=True, kw_only=True)
class RowTable(Piece):
    """A table of accuracy rows.

    Attributes:
        select: rows that it shows. markdown, latex: the table of them.
    """

    kind: str = TABLE
    select: Callable[[Rows, Params], list[Row]]
    markdown: Callable[[Rows, Params], str]
    latex: Callable[[Rows, Params], str]

    def make(self, files: Files, params: Params) -> Made:
        rows = self.select(with_worst(files, params), params)
        return Made(rows, markdown=self.markdown(rows, params), latex=self.latex(rows, params))


# -- in words


def attack_text(piece: Piece, config: Config) -> str:
    """Attack and configured threat models of a piece, e.g. PGD, gray and black box; empty without any attack."""
    if piece.attack == "" and piece.under == "{attack}":
        return ""
    chosen = [one for one in piece.settings if one == "white_box" or one in config.attacks.settings]
    names = [SETTING_NAMES[one].lower() for one in (chosen[:1] if piece.single else chosen)]
    joined = " and ".join(names).replace(" box and ", " and ")
    name = piece.under.format(attack=ATTACKS[piece.attack or config.base.attack].label)
    return ", ".join(text for text in (name, joined) if text)


def held_fixed(piece: Piece, config: Config) -> str:
    """The base values that a piece holds fixed, e.g. conv_4_1 features, K = 50, CBW-D, soft combination."""
    base = config.base
    words = {
        "epsilon": f"Δ = {base.epsilon:g} on {base.space} pixels",
        "features": f"{base.features} features",
        "neighbors": f"K = {base.neighbors}",
        "weighting": base.weighting,
        "combination": f"{base.combination} combination",
    }
    return ", ".join(words[axis] for axis in piece.fixed)
