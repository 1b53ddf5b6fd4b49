"""Table 1: accuracy by database and weighting, on clean images and under gray-box and black-box attacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nndefense.axes.queries import WORST
from nndefense.core.files import read_json
from nndefense.report.grid import (
    BOLD,
    INTERVALS,
    arrange,
    best_cells,
    column_name,
    latex_table,
    markdown_lines,
    paper_lines,
)
from nndefense.report.markup import latex_comment, markdown, markdown_table
from nndefense.report.names import BOTH, Params, attack_name
from nndefense.report.paper import paper_cells
from nndefense.report.piece import TABLE, Files, Made, Piece, with_worst
from nndefense.report.select import Row, Rows, at_base_attack, matching, table_databases

AXES = ("setting", "weighting")


def select_table1(rows: Rows, params: Params) -> list[Row]:
    """The model without a defence, and every pool at its largest size under every weighting."""
    return [*at_base_attack(matching(rows, defense="none"), params), *table_databases(rows, params, "combination")]


def attacked(params: Params) -> str:
    """How the attacked images of Tables 1, 2 and 4 were made."""
    return (
        f"Attacked images: {attack_name(params['attack'], params)}, normalised l2 distance at most "
        f"{params['epsilon']:g} ({params['space']} pixels)."
    )


def worst_text(rows: Rows) -> str:
    """What the column of the worst case holds; empty without one."""
    worst = matching(rows, setting=WORST)
    if not worst:
        return ""
    return (
        f"Worst case: images that are right clean and under every attack within the budget, n = {worst[0]['n']:,} of "
        "them; named is the attack that broke most alone. Attacks through the nearest-neighbour defence go through the "
        "system of the base values, other rows are tried on their images. "
    )


def caption(rows: Rows, params: Params) -> str:
    """What the table shows, with n and what the intervals are."""
    row = rows[0]
    return (
        f"Accuracy on {row['dataset']} of {row['model']} with nearest-neighbour defences, K = {params['neighbors']}, "
        f"{params['combination']} combination. {attacked(params)} n = {row['n']:,} images; {INTERVALS}. "
        f"{worst_text(rows)}{BOLD}, no defence apart. The paper's rows are of its own databases and networks."
    )


def as_markdown(rows: Rows, params: Params, models: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown, its caption, and the clean accuracy and origin of the models."""
    columns, cells = arrange(rows, AXES, params)
    ours = markdown_lines(cells, columns, best_cells(cells, columns))
    lines = ["# Table 1", "", markdown(caption(rows, params)), ""]
    heads = ["Database", *map(column_name, columns)]
    lines += markdown_table(heads, [*ours, *paper_lines(paper_cells(1, AXES), columns)])
    lines += ["", "Models:", ""]
    for model in models:
        text = (
            f"{model['name']} ({model['architecture']}): clean accuracy {model['accuracy']:.3f} "
            f"[{model['ci_low']:.3f}, {model['ci_high']:.3f}], n = {model['n']:,}; {_origin(model['provenance'])}"
        )
        lines.append(f"- {markdown(text)}")
    return "\n".join(lines) + "\n"


def as_latex(rows: Rows, params: Params) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 1."""
    table = latex_table("Database", *arrange(rows, AXES, params), paper_cells(1, AXES))
    return f"{latex_comment(caption(rows, params))}\n{table}"


def _origin(provenance: Mapping[str, Any]) -> str:
    if "trained_on" in provenance:
        return f"trained here on {provenance['images']:,} images of {provenance['trained_on']}"
    if "file" in provenance:
        return f"loaded from {provenance['file']} (SHA-256 {provenance['sha256'][:12]})"
    return f"published by {provenance['published_by']} as {provenance['weights']}"


@dataclass(frozen=True, kw_only=True)
class Table1(Piece):
    """The table, with the clean accuracies of the networks below it."""

    kind: str = TABLE

    def make(self, files: Files, params: Params) -> Made:
        rows = select_table1(with_worst(files, params), params)
        markdown = as_markdown(rows, params, [read_json(path) for path in files["models"]])
        return Made(rows, markdown=markdown, latex=as_latex(rows, params))


PIECE = Table1(
    name="table1",
    category="Tables",
    title="Accuracy by database and weighting of the neighbours",
    varies="database, weighting",
    shows="A row per database at its largest size, a column per threat model and weighting.",
    paper="PGD with Δ = 0.06, K = 50; IG-50B-All (conv_5_1-RMAC), IG-1B-Targeted and IN-1.3M, whose values stand below "
    "ours",
    source="nndefense.report.sources:databases_and_models",
    settings=("clean", *BOTH),
    fixed=("epsilon", "neighbors", "combination"),
    uses=("features",),
)
