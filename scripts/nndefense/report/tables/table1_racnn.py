"""Table 1 of Zhao, Li & Cho 2018: networks under attacks within an l-infinity ball, white box and transfer."""

from dataclasses import dataclass
from typing import Any

from nndefense.evaluation.rows import COLUMNS as MEASURED
from nndefense.report.grid import (
    BOLD,
    INTERVALS,
    best_cells,
    latex_heading,
    latex_lines,
    latex_paper_lines,
    markdown_lines,
    paper_lines,
)
from nndefense.report.linf import CLEAN, PAPER, PARTS, Column, block, paper_block, paper_value, select_linf
from nndefense.report.markup import latex, latex_comment, latex_line, latex_span, markdown, markdown_table, tabular
from nndefense.report.names import Params, attack_name
from nndefense.report.piece import TABLE, Files, Made, Piece, collect_accuracy
from nndefense.report.select import Row, Rows

COLUMNS = (*MEASURED, "paper")
DIGITS = 4


def table_rows(rows: Rows) -> list[dict[str, Any]]:
    """Rows of COLUMNS: ours with the paper's value of the network of the same kind beside it, empty without one."""
    values = [paper_value(row) for row in rows]
    return [{**row, "paper": "" if value is None else value} for row, value in zip(rows, values, strict=True)]


def caption(rows: Rows, params: Params) -> str:
    """What the table shows, how the images were attacked, and what the paper leaves open."""
    row, section = rows[0], params["linf"]
    attacks = "; ".join(_attack(name, section["steps"].get(name), params) for name in section["attacks"])
    return (
        f"Accuracy on {row['dataset']} under attacks that change no pixel by more than ε, pixels in [0, 1]: {attacks}. "
        "White box: gradients of the network itself, with the images that it retrieves held constant in the gradient. "
        f"Transfer: images attacked through the baseline {section['baseline']}, so that row is the same in both. "
        f"n = {row['n']:,} images; {INTERVALS}. {BOLD}. Rows below the line that names the paper are Table 1 of Zhao, "
        "Li & Cho (SysML 2018), on SVHN with its own networks; it has one value per cell, calls the setting white box, "
        "and does not say whose gradients it used nor how many steps I-FGSM took, so its values stand in both parts."
    )


def _attack(name: str, steps: int | None, params: Params) -> str:
    return f"{attack_name(name, params)}, {'one step' if steps in (None, 1) else f'{steps} steps'}"


def columns_of(rows: Rows, params: Params) -> list[Column]:
    """Clean, then every attack's budgets, ascending."""
    found = {(row["attack"], row["epsilon"]) for row in rows}
    return [CLEAN, *sorted(found - {CLEAN}, key=lambda one: (params["linf"]["attacks"].index(one[0]), one[1]))]


def as_markdown(rows: Rows, params: Params) -> str:
    """The table in Markdown, a part per threat model and attack."""
    columns = columns_of(rows, params)
    lines = ["# Table 1 of the RA-CNN abstract", "", markdown(caption(rows, params))]
    for part, title in PARTS.items():
        cells = block(rows, part, params)
        for attack in dict.fromkeys(attack for attack, _ in columns[1:]):
            shown = [CLEAN, *(column for column in columns if column[0] == attack)]
            heads = ["Network", "Clean", *(f"ε = {epsilon:g}" for _, epsilon in shown[1:])]
            ours = markdown_lines(cells, shown, best_cells(cells, shown, bare=True))
            lines += ["", f"## {title}, {markdown(attack_name(attack, params))}", ""]
            lines += markdown_table(heads, [*ours, *paper_lines(paper_block(), shown, PAPER, DIGITS)])
    return "\n".join(lines) + "\n"


def as_latex(rows: Rows, params: Params) -> str:
    """The table in LaTeX (booktabs): a row per network, a block per threat model, the paper's rows last."""
    columns = columns_of(rows, params)
    spans = {attack: sum(one == attack for one, _ in columns) for attack, _ in columns[1:]}
    over = (latex_span(span, latex(attack_name(attack, params))) for attack, span in spans.items())
    heads = [latex_line(["", "", *over]), latex_line(["Network", "Clean", *(f"{one:g}" for _, one in columns[1:])])]
    lines = []
    for part, title in PARTS.items():
        cells = block(rows, part, params)
        lines += [
            *latex_heading(len(columns), title),
            *latex_lines(cells, columns, best_cells(cells, columns, bare=True)),
        ]
    # The first heading follows the table's own rule.
    lines = [*lines[1:], *latex_paper_lines(paper_block(), columns, PAPER, DIGITS)]
    return f"{latex_comment(caption(rows, params))}\n{tabular('l' + 'r' * len(columns), heads, lines)}"


@dataclass(frozen=True, kw_only=True)
class LinfTable(Piece):
    """The table, whose rows have the paper's values beside ours."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        rows: list[Row] = select_linf(collect_accuracy(files["rows"], params), params)
        return Made(table_rows(rows), COLUMNS, markdown=as_markdown(rows, params), latex=as_latex(rows, params))


PIECE = LinfTable(
    name="table1_racnn",
    called="Table 1 of RA-CNN",
    category="Tables",
    title="Networks under attacks within an l-infinity ball",
    varies="network, attack, budget ε",
    shows="A row per network, a column per budget; white box: gradients of the network itself, transfer: images "
    "attacked through the baseline.",
    paper="Table 1 of Zhao, Li & Cho (SysML 2018), on SVHN, whose values stand below ours",
    source="nndefense.report.sources:linf",
    attack="",
    under="attacks within an l-infinity ball",
    settings=("white_box", "gray_box"),
)
