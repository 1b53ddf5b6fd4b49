"""Certified retrieval: a part per retrieval, a row per certificate and decision rule, a column per radius."""

from collections.abc import Sequence
from dataclasses import dataclass

from nndefense.evaluation.certified import COLUMNS
from nndefense.evaluation.guarded import BASE, MEAN, VOTE
from nndefense.evaluation.rows import AXES
from nndefense.report.grid import INTERVALS, accuracy_text
from nndefense.report.guarded import (
    RULE_NAMES,
    System,
    attacked,
    certificates_of,
    certified,
    chosen_radii,
    clean,
    read_guarded,
    rows_of,
    rule_of,
    system_name,
    systems_of,
)
from nndefense.report.markup import latex, latex_comment, latex_line, latex_span, markdown, markdown_table, tabular
from nndefense.report.names import Params
from nndefense.report.piece import TABLE, Files, Made, Piece
from nndefense.report.select import Row, Rows, matching

NOTHING = "–"


def caption(rows: Rows, params: Params) -> str:
    """What the table shows, with n and alpha."""
    n = max(row["n"] for row in rows)
    return (
        f"Recall@1 of nearest-neighbour retrieval on {rows[0]['dataset']}, n = {n:,} queries (attacks: those that the "
        f"row says); {INTERVALS}. Certified: right, and provably so for every image within the radius (l2 distance of "
        f"images in [0, 1]); a certificate is wrong with a probability of at most {params['alpha']:g} for each query, "
        f"so that of all {n:,} radii some is too large with one of at most {min(1.0, n * params['alpha']):g}. Under "
        "attack: a bound from above. The base model has no certificate. Mean radius: of all queries, 0 where the "
        "answer is wrong or the certificate abstains."
    )


def heads(radii: Sequence[float]) -> list[str]:
    """Heads of the columns."""
    return ["", "Clean", *(f"r = {radius:g}" for radius in radii), "Mean radius", "Abstains"]


def lines_of(own: Rows, radii: Sequence[float], params: Params) -> list[list[str]]:
    """Lines of a retrieval: the base model, then either decision with its certificates and its attack."""
    found = [_attack_line(own, BASE, radii)]
    for rule in (MEAN, VOTE):
        for name, label in certificates_of(params).items():
            if rule_of(name) == rule:
                found.append(_certified_line(own, name, label, radii))
        if attacked(own, rule):
            found.append(_attack_line(own, rule, radii))
    return found


def _certified_line(own: Rows, name: str, label: str, radii: Sequence[float]) -> list[str]:
    rows = certified(own, name)
    values = [accuracy_text(row) for radius in radii for row in matching(rows, epsilon=radius)]
    return [
        f"{RULE_NAMES[rule_of(name)]}: certified, {label}",
        accuracy_text(clean(own, rule_of(name))),
        *values,
        f"{rows[0]['mean_radius']:.3f}",
        f"{rows[0]['abstained']:.3f}",
    ]


def _attack_line(own: Rows, rule: str, radii: Sequence[float]) -> list[str]:
    rows = attacked(own, rule)
    name = f"{RULE_NAMES[rule]}: under attack, n = {rows[0]['n']:,}" if rows else RULE_NAMES[rule]
    values = [_cell(matching(rows, epsilon=radius)) for radius in radii]
    return [name, accuracy_text(clean(own, rule)), *values, NOTHING, NOTHING]


def _cell(rows: Rows) -> str:
    return accuracy_text(rows[0]) if rows else NOTHING


def parts_of(rows: Rows, params: Params) -> list[tuple[str, list[list[str]]]]:
    """Title and lines of every retrieval."""

    def part(system: System, own: list[Row]) -> tuple[str, list[list[str]]]:
        return system_name(system, own[0]["size"], params), lines_of(own, chosen_radii(params["radii"]), params)

    return [part(system, rows_of(rows, system)) for system in systems_of(rows)]


def as_markdown(rows: Rows, params: Params) -> str:
    """The table in Markdown, a part per retrieval."""
    lines = ["# Certified retrieval", "", markdown(caption(rows, params))]
    for title, part in parts_of(rows, params):
        lines += ["", f"## {markdown(title)}", "", *markdown_table(heads(chosen_radii(params["radii"])), part)]
    return "\n".join(lines) + "\n"


def as_latex(rows: Rows, params: Params) -> str:
    """The table in LaTeX (booktabs), the retrievals one below the other."""
    names, lines = heads(chosen_radii(params["radii"])), []
    for place, (title, part) in enumerate(parts_of(rows, params)):
        lines += ["\\midrule"] * (place > 0)
        lines.append(latex_line([latex_span(len(names), f"\\emph{{{latex(title)}}}", "l")]))
        lines += [latex_line(map(latex, line)) for line in part]
    table = tabular("l" + "r" * (len(names) - 1), [latex_line(map(latex, names))], lines)
    return f"{latex_comment(caption(rows, params))}\n{table}"


@dataclass(frozen=True, kw_only=True)
class RetrievalTable(Piece):
    """The table."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        rows = read_guarded(files["rows"])
        return Made(rows, (*AXES, *COLUMNS), markdown=as_markdown(rows, params), latex=as_latex(rows, params))


PIECE = RetrievalTable(
    name="retrievalguard/table",
    called="Certified retrieval, in numbers",
    category="Certified retrieval",
    title="Recall@1 that is proven, and recall@1 under attack",
    varies="σ, certificate, radius",
    shows="A part per gallery, embedding and noise; a row per certificate, and one per decision under attack.",
    source="nndefense.report.certified_sources:retrieval",
    attack="",
    under="certificates and attacks on the retrieval",
    settings=(),
)
