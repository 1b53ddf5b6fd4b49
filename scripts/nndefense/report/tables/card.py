"""The card: what is defended, what the attacker knew, what holds, and how to try it again; a part per defence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.evaluation.rows import AXES
from nndefense.evaluation.worst import WORST_CASE
from nndefense.report.grid import accuracy_text, row_name
from nndefense.report.markup import latex, latex_comment, latex_line, latex_span, markdown, markdown_table, tabular
from nndefense.report.names import Params, attack_name
from nndefense.report.piece import TABLE, VOTE, Files, Made, Piece
from nndefense.report.select import distinct
from nndefense.report.tables.worst_case import Found, find
from nndefense.report.worst import read_breaks, read_reports, read_worst, strongest_name

DOUBLED = "doubled"
COLUMNS = (*AXES, *WORST_CASE.columns, "alarms")
HEADS = ("Δ", "Clean", "Transfer", "Worst case", "Strongest alone", "Alarms")


def defended_text(one: Found, params: Params) -> str:
    """What is defended, in a sentence."""
    row = one.row
    name = f"{row_name(row, params)} on {row['dataset']}; network {row['model']}"
    if row["defense"] != NEIGHBORS:
        asked = params["networks"].get(row["defense"], row["model"])
        return f"{name}." if asked == row["model"] else f"{row_name(row, params)} on {row['dataset']}; network {asked}."
    return (
        f"{name}, {row['size']:,} images of pool {row['pool']}, {row['features']} features, K = {row['neighbors']}, "
        f"{row['weighting']}, {row['combination']} combination."
    )


def known_text(one: Found, params: Params) -> str:
    """What the attacker knew, in a sentence."""
    what = "the network with its weights and the images' labels"
    if one.row["defense"] == NEIGHBORS:
        what += ", the database with its codes and softmax rows, K and the weights of votes"
    elif one.row["defense"] != NO_DEFENSE:
        what += ", the defence with its options, but not what it draws at random"
    return f"The attacker knew {what}; gradients of {', '.join(params['surrogates'])} served as surrogates."


def curve_lines(part: Sequence[Found], params: Params) -> list[list[str]]:
    """A line per budget."""
    return [
        [
            f"{one.row['epsilon']:g}",
            f"{one.row['clean']:.3f}",
            "–" if one.row["transfer"] != one.row["transfer"] else f"{one.row['transfer']:.3f}",
            accuracy_text(one.row),
            f"{one.row['strongest_accuracy']:.3f} {strongest_name(one.row, params)}",
            "; ".join(f"void: {reason}" for reason in one.void) or "none",
        ]
        for one in part
    ]


def stage_lines(part: Sequence[Found], params: Params) -> list[str]:
    """What each attack of the search did, a line per budget."""
    found = []
    for one in part:
        done = [f"{_stage_name(stage['attack'], params)} {stage['broke']} of {stage['tried']}" for stage in one.stages]
        text = f"Δ = {one.row['epsilon']:g}: {', '.join(done) or 'nothing was left to attack'}."
        found.append(f"- {markdown(text)}")
    return found


def _stage_name(attack: str, params: Params) -> str:
    return "one of them again with twice the steps" if attack == DOUBLED else attack_name(attack, params)


def suite_text(suite: Mapping[str, Any], params: Params) -> str:
    """Attacks in their order, with their numbers of steps or queries."""
    words = []
    for name in params["suite"]:
        options = suite[name]
        effort = [f"{options[key]} {key}" for key in ("steps", "queries", "tries") if key in options]
        words.append(f"{attack_name(name, params)} ({', '.join(effort)})" if effort else attack_name(name, params))
    return ", ".join(words)


def as_markdown(found: Sequence[Found], params: Params) -> str:
    """The card in Markdown."""
    lines = ["# Card", "", INTRODUCTION, "", markdown(f"Attacks, in order: {suite_text(params['options'], params)}.")]
    for name in distinct([one.row for one in found], "defense"):
        part = [one for one in found if one.row["defense"] == name]
        row = part[0].row
        lines += [
            "",
            f"## {markdown(row_name(row, params))}",
            "",
            markdown(defended_text(part[0], params)),
            "",
            markdown(known_text(part[0], params)),
        ]
        lines += ["", f"n = {row['n']:,} images; distances of {row['space']} pixels.", ""]
        lines += markdown_table(HEADS, curve_lines(part, params))
        lines += ["", "Broken by each attack, of the images that had held against those before it:", ""]
        lines += stage_lines(part, params)
        lines += ["", "To reproduce, and to score the stored images, or better ones, again:", ""]
        lines += [f"- `{command}`" for command in params["commands"].get(name, [])]
    return "\n".join(lines) + "\n"


def as_latex(found: Sequence[Found], params: Params) -> str:
    """The curves in LaTeX, one defence below the other."""
    lines = []
    for place, name in enumerate(distinct([one.row for one in found], "defense")):
        part = [one for one in found if one.row["defense"] == name]
        title = f"\\emph{{{latex(row_name(part[0].row, params))}}}"
        lines += ["\\midrule"] * (place > 0) + [latex_line([latex_span(len(HEADS), title, "l")])]
        lines += [latex_line(map(latex, line)) for line in curve_lines(part, params)]
    heads = [latex_line(["$\\Delta$", *map(latex, HEADS[1:])])]
    return f"{latex_comment(INTRODUCTION)}\n{tabular('rrrrll', heads, lines)}"


INTRODUCTION = (
    "What holds, and against whom. In the worst case an image counts as right where the defence is right on it clean "
    "and under every attack that was tried within the budget. It bounds the robust accuracy from above: a stronger "
    "attack may lower it, and is welcome. The images that broke each defence are stored."
)


@dataclass(frozen=True, kw_only=True)
class Card(Piece):
    """The card."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        found = find(read_worst(files["worst"]), read_breaks(files["breaks"]), read_reports(files["reports"]), params)
        rows = [{**one.row, "alarms": "; ".join(one.void)} for one in found]
        return Made(rows, COLUMNS, markdown=as_markdown(found, params), latex=as_latex(found, params))


PIECE = Card(
    name="card",
    called="Card",
    category="Tables",
    title="What is defended, against whom, and what holds",
    varies="defence, budget Δ",
    shows="A part per defended system: clean, transfer and worst case by budget, what each attack broke, and commands.",
    source="nndefense.report.sources:card",
    attack="",
    under="all attacks",
    settings=(),
    fixed=("features", "neighbors", *VOTE),
    uses=("pool",),
)
