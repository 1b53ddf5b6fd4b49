"""Table 4: soft against hard combination of the neighbours' predictions, by database and weighting."""

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
from nndefense.report.names import SETTING_NAMES
from nndefense.report.paper import paper_cells
from nndefense.report.select import Row, distinct, table_databases
from nndefense.report.table1 import attacked

AXES = ("setting", "combination", "weighting")


def select_table4(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Every pool at its largest size under every weighting and combination."""
    return table_databases(rows, base)


def caption(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """What the table shows, with n and what the intervals are."""
    row = rows[0]
    return (
        f"Accuracy on {row['dataset']} of {row['model']} with nearest-neighbour defences, K = {base['neighbors']}: the "
        f"mean of the neighbours' probabilities (soft) against a vote of their classes (hard). {attacked(base)} "
        f"n = {row['n']:,} images; {INTERVALS}. Bold: the best of a column. "
        "The paper's rows are of its own databases and networks."
    )


def as_markdown(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in Markdown, one part per setting: six columns with intervals fit a page, eighteen do not."""
    columns, cells = arrange(rows, AXES)
    paper = paper_cells(4, AXES)
    lines = ["# Table 4", "", caption(rows, base)]
    for setting in distinct(rows, "setting"):
        part = [column for column in columns if column[0] == setting]
        heads = ["Database", *(column_name(column[1:]) for column in part)]
        lines += ["", f"## {SETTING_NAMES[setting]}", ""]
        lines += markdown_table(heads, markdown_lines(part, cells, paper))
    return "\n".join(lines) + "\n"


def as_latex(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 4."""
    columns, cells = arrange(rows, AXES)
    lines = [f"% {caption(rows, base)}", *latex_table("Database", columns, cells, paper_cells(4, AXES))]
    return "\n".join(lines) + "\n"
