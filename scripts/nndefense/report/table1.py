"""Table 1: accuracy by database and weighting, on clean images and under gray-box and black-box attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from nndefense.report.accuracy_grid import (
    INTERVALS,
    arrange,
    column_name,
    latex_table,
    markdown_lines,
    markdown_table,
)
from nndefense.report.names import attack_name
from nndefense.report.paper import paper_cells
from nndefense.report.select import Row, at_base_attack, matching, table_databases

AXES = ("setting", "weighting")


def select_table1(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """The model without a defence, and every pool at its largest size under every weighting."""
    return [*at_base_attack(matching(rows, defense="none"), base), *table_databases(rows, base, "combination")]


def attacked(base: Mapping[str, Any]) -> str:
    """How the attacked images of Tables 1, 2 and 4 were made."""
    return (
        f"Attacked images: {attack_name(base['attack'])}, normalised l2 distance at most {base['epsilon']:g} "
        f"({base['space']} pixels)."
    )


def caption(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """What the table shows, with n and what the intervals are."""
    row = rows[0]
    return (
        f"Accuracy on {row['dataset']} of {row['model']} with nearest-neighbour defences, K = {base['neighbors']}, "
        f"{base['combination']} combination. {attacked(base)} n = {row['n']:,} images; {INTERVALS}. "
        "Bold: the best defence of a column. The paper's rows are of its own databases and networks."
    )


def as_markdown(rows: Sequence[Row], base: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown, its caption, and the clean accuracy and origin of the models."""
    columns, cells = arrange(rows, AXES)
    heads = ["Database", *map(column_name, columns)]
    lines = ["# Table 1", "", caption(rows, base), ""]
    lines += markdown_table(heads, markdown_lines(columns, cells, paper_cells(1, AXES)))
    lines += ["", "Models:", ""]
    for model in models:
        lines.append(
            f"- {model['name']} ({model['architecture']}): clean accuracy {model['accuracy']:.3f} "
            f"[{model['ci_low']:.3f}, {model['ci_high']:.3f}], n = {model['n']:,}; {_origin(model['provenance'])}"
        )
    return "\n".join(lines) + "\n"


def as_latex(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 1."""
    columns, cells = arrange(rows, AXES)
    lines = [f"% {caption(rows, base)}", *latex_table("Database", columns, cells, paper_cells(1, AXES))]
    return "\n".join(lines) + "\n"


def _origin(provenance: Mapping[str, Any]) -> str:
    if "trained_on" in provenance:
        return f"trained here on {provenance['images']:,} images of {provenance['trained_on']}"
    if "file" in provenance:
        return f"loaded from {provenance['file']} (SHA-256 {provenance['sha256'][:12]})"
    return f"published by {provenance['published_by']} as {provenance['weights']}"
