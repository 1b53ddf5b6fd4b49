"""The worst case of every defence: clean, transfer, each attack alone, and what holds against all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nndefense.axes.cells import NO_DEFENSE
from nndefense.evaluation.rows import AXES
from nndefense.evaluation.worst import WORST_CASE
from nndefense.report.grid import INTERVALS, accuracy_text, row_name
from nndefense.report.markup import latex, latex_comment, latex_line, latex_span, markdown, markdown_table, tabular
from nndefense.report.names import Params, attack_name
from nndefense.report.piece import TABLE, VOTE, Files, Made, Piece
from nndefense.report.select import Row, Rows, distinct
from nndefense.report.worst import (
    Report,
    alarms,
    alone_of,
    attack_text,
    attackers_of,
    deployed,
    read_breaks,
    read_reports,
    read_worst,
    stages_of,
    strongest_name,
)

COLUMNS = (*AXES, *WORST_CASE.columns, "alarms")


@dataclass(frozen=True)
class Found:
    """What is known of a defence within a budget.

    Attributes:
        row: its worst case.
        alone: attacks through the defence that were run on all images, by name.
        stages: what each attack of the cascade did.
        void: why the worst case is void.
    """

    row: Row
    alone: Mapping[str, Row]
    stages: Sequence[Mapping[str, Any]]
    void: Sequence[str]


def find(worst: Rows, breaks: Rows, reports: Mapping[str, Sequence[Report]], params: Params) -> list[Found]:
    """Everything of every defence and budget, no defence first, then in the configuration's order."""
    found = []
    for row in deployed(worst, params):
        own, alone = reports.get(row["defense"], []), alone_of(breaks, row)
        values = {name: one["accuracy"] for name, one in alone.items()}
        epsilon = row["epsilon"]
        found.append(Found(row, alone, stages_of(own, epsilon), alarms(own, epsilon, values)))
    return sorted(found, key=lambda one: one.row["defense"] != NO_DEFENSE)


def caption(found: Sequence[Found], params: Params) -> str:
    """What the table shows, with n."""
    row = found[0].row
    return (
        f"Accuracy on {row['dataset']} of {row['model']}, n = {row['n']:,} images; {INTERVALS}. In the worst case an "
        "image counts as right where the defence is right on it clean and under every attack within the budget "
        f"({row['space']} pixels): transfer through the target network or the surrogate, the paper's attacks, and "
        "those through the defence. The worst case bounds the robust accuracy from above. An attack alone was run on "
        "all images where a share stands (in brackets: images that it alone breaks), else on those that had held: "
        "“12 of 40” broke. void: the number is not the worst case, for the reason given."
    )


def heads(params: Params) -> list[str]:
    """Heads of the columns."""
    names = [attack_name(name, params) for name in params["suite"]]
    return ["Defence", "Clean", "Gray/black box", *names, "Strongest alone", "Worst case"]


def cells(one: Found, params: Params) -> list[str]:
    """Cells of a defence's row."""
    row = one.row
    transfer = "–" if row["transfer"] != row["transfer"] else f"{row['transfer']:.3f}"
    worst = accuracy_text(row) + "".join(f"; void: {reason}" for reason in one.void)
    attacks = [_attack_cell(one, name) for name in params["suite"]]
    strongest = f"{row['strongest_accuracy']:.3f} {strongest_name(row, params)}"
    return [row_name(row, params), f"{row['clean']:.3f}", transfer, *attacks, strongest, worst]


def _attack_cell(one: Found, name: str) -> str:
    if name in one.alone:
        return f"{one.alone[name]['accuracy']:.3f} ({one.alone[name]['unique']})"
    stages = [stage for stage in one.stages if stage["attack"] == name]
    tried, broke = (sum(stage[key] for stage in stages) for key in ("tried", "broke"))
    return f"{broke} of {tried}" if tried else "–"


def attackers(breaks: Rows, params: Params) -> list[str]:
    """Lines of Markdown on attackers of the nearest neighbours who differ in what they have; none without any."""
    rows = attackers_of(breaks, params)
    if not rows:
        return []
    lines = [[attack_text(row["setting"], row["attack"], params), accuracy_text(row), str(row["n"])] for row in rows]
    title = f"## What attackers of the nearest neighbours have, Δ = {rows[0]['epsilon']:g}"
    return ["", title, "", ATTACKERS, "", *markdown_table(["Attack, alone", "Accuracy", "n"], lines)]


ATTACKERS = (
    "The first has the defence's own database and all weights. `with Targeted-500`: the first 500 images of it; "
    "`overlap-0`: as many images as the defence, none of them in common. The features known: softmax rows are another "
    "network's. No weights known: features and rows are another network's."
)


def as_markdown(found: Sequence[Found], breaks: Rows, params: Params) -> str:
    """The table in Markdown, one part per budget, and what attackers of the nearest neighbours have."""
    lines = ["# Worst case", "", markdown(caption(found, params))]
    for epsilon in distinct([one.row for one in found], "epsilon"):
        part = [one for one in found if one.row["epsilon"] == epsilon]
        lines += ["", f"## Δ = {epsilon:g}", "", *markdown_table(heads(params), [cells(one, params) for one in part])]
    lines += attackers(breaks, params)
    return "\n".join(lines) + "\n"


def as_latex(found: Sequence[Found], params: Params) -> str:
    """The table in LaTeX (booktabs), the budgets one below the other."""
    names, lines = heads(params), []
    for place, epsilon in enumerate(distinct([one.row for one in found], "epsilon")):
        lines += ["\\midrule"] * (place > 0)
        lines.append(latex_line([latex_span(len(names), f"\\emph{{$\\Delta = {epsilon:g}$}}", "l")]))
        part = [one for one in found if one.row["epsilon"] == epsilon]
        lines += [latex_line(map(latex, cells(one, params))) for one in part]
    table = tabular("l" + "r" * (len(names) - 1), [latex_line(map(latex, names))], lines)
    return f"{latex_comment(caption(found, params))}\n{table}"


@dataclass(frozen=True, kw_only=True)
class WorstCase(Piece):
    """The table."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        breaks = read_breaks(files["breaks"])
        found = find(read_worst(files["worst"]), breaks, read_reports(files["reports"]), params)
        rows = [{**one.row, "alarms": "; ".join(one.void)} for one in found]
        return Made(rows, COLUMNS, markdown=as_markdown(found, breaks, params), latex=as_latex(found, params))


PIECE = WorstCase(
    name="worst_case",
    called="Worst case",
    category="Tables",
    title="Accuracy of every defence in the worst case over all attacks",
    varies="defence, attack",
    shows="A row per defence, a column per attack; the last column counts an image as right where no attack broke it.",
    source="nndefense.report.sources:worst_case",
    attack="",
    under="all attacks",
    settings=(),
    fixed=("features", "neighbors", *VOTE),
    uses=("pool",),
)
