"""Table 4: soft against hard combination of the neighbours' predictions, by database and weighting."""

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
from nndefense.report.names import BOTH, SETTING_NAMES, Params
from nndefense.report.paper import paper_cells
from nndefense.report.piece import RowTable
from nndefense.report.select import Row, Rows, distinct, table_databases
from nndefense.report.tables.table1 import attacked, worst_text

AXES = ("setting", "combination", "weighting")


def select_table4(rows: Rows, params: Params) -> list[Row]:
    """Every pool at its largest size under every weighting and combination."""
    return table_databases(rows, params)


def caption(rows: Rows, params: Params) -> str:
    """What the table shows, with n and what the intervals are."""
    row = rows[0]
    return (
        f"Accuracy on {row['dataset']} of {row['model']} with nearest-neighbour defences, K = {params['neighbors']}: "
        "the mean of the neighbours' probabilities (soft) against a vote of their classes (hard). "
        f"{attacked(params)} n = {row['n']:,} images; {INTERVALS}. {worst_text(rows)}{BOLD}. "
        "The paper's rows are of its own databases and networks."
    )


def as_markdown(rows: Rows, params: Params) -> str:
    """The table in Markdown, one part per setting: six columns with intervals fit a page, eighteen do not."""
    columns, cells = arrange(rows, AXES, params)
    paper = paper_cells(4, AXES)
    lines = ["# Table 4", "", markdown(caption(rows, params))]
    for setting in distinct(rows, "setting"):
        part = [column for column in columns if column[0] == setting]
        heads = ["Database", *(column_name(column[1:]) for column in part)]
        lines += ["", f"## {SETTING_NAMES[setting]}", ""]
        ours = markdown_lines(cells, part, best_cells(cells, part))
        lines += markdown_table(heads, [*ours, *paper_lines(paper, part)])
    return "\n".join(lines) + "\n"


def as_latex(rows: Rows, params: Params) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 4."""
    table = latex_table("Database", *arrange(rows, AXES, params), paper_cells(4, AXES))
    return f"{latex_comment(caption(rows, params))}\n{table}"


PIECE = RowTable(
    name="table4",
    category="Tables",
    title="Soft against hard votes",
    varies="database, combination, weighting",
    shows="A row per database at its largest size; soft: neighbours' probabilities are averaged, hard: their classes "
    "vote.",
    paper="PGD with Δ = 0.06, K = 50; the databases of its Table 1, whose values stand below ours",
    source="nndefense.report.sources:databases",
    settings=("clean", *BOTH),
    fixed=("epsilon", "neighbors"),
    uses=("features",),
    select=select_table4,
    markdown=as_markdown,
    latex=as_latex,
)
