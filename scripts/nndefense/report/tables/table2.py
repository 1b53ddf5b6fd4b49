"""Table 2: no defence, every database and every other defence, clean and attacked, beside the paper's values."""

from collections.abc import Mapping

from nndefense.axes.ball import LINF
from nndefense.axes.queries import WORST
from nndefense.report.grid import (
    BOLD,
    INTERVALS,
    Column,
    arrange,
    best_cells,
    latex_table,
    markdown_cells,
    row_name,
)
from nndefense.report.markup import Marked, latex_comment, markdown, markdown_table
from nndefense.report.names import BOTH, SETTING_NAMES, Params
from nndefense.report.paper import PAPER, counterpart, paper_cells
from nndefense.report.piece import VOTE, RowTable
from nndefense.report.select import (
    Row,
    Rows,
    at_base_attack,
    distinct,
    matching,
    other_defenses,
    settle,
    table_databases,
)
from nndefense.report.tables.table1 import attacked, worst_text

SETTINGS = ("clean", *BOTH)
OWN = "gray_box-own"
COLUMN = "column"
COLUMN_NAMES = SETTING_NAMES | {OWN: "Gray box, on the defended network"}


def select_table2(rows: Rows, params: Params) -> list[Row]:
    """The model without a defence, every other defence, and every pool at its largest size.

    At the base attack and budget, in every pixel space found: the base space first.
    """
    found_spaces = {row["space"] for row in rows} - {"none", str(LINF)}
    spaces = sorted(found_spaces, key=lambda space: (space != params["space"], space))
    found = [row for space in spaces for row in _in_space(rows, {**params, "space": space})]
    unique = {tuple(row.values()): row for row in found}
    return sorted(unique.values(), key=lambda row: distinct(found, "defense").index(row["defense"]))


def _in_space(rows: Rows, params: Params) -> list[Row]:
    bare = at_base_attack(matching(rows, defense="none"), params)
    others = at_base_attack(other_defenses(rows), params)
    settled = [row for name in distinct(others, "defense") for row in settle(matching(others, defense=name), params)]
    return [*bare, *settled, *table_databases(rows, params, *VOTE)]


def column_of(row: Row, params: Params) -> str:
    """The column a row stands in: its setting, apart for a defence's own gradients and for another pixel space."""
    setting = OWN if row["setting"] == f"gray_box-{row['defense']}" else row["setting"]
    return setting if row["space"] in ("none", params["space"]) else f"{setting}/{row['space']}"


def column_title(column: str) -> str:
    """gray_box/standardized -> Gray box (standardized pixels)."""
    setting, _, space = column.partition("/")
    name = COLUMN_NAMES.get(setting, setting)
    return f"{name} ({space} pixels)" if space else name


def caption(rows: Rows, params: Params) -> str:
    """What the table shows, and what its columns mean."""
    row = rows[0]
    columns = {column_of(one, params) for one in rows}
    own = (
        "Gray-box images of a defence that is a network of its own are made with the gradients of the undefended "
        f"network (they transfer), those of the column “{COLUMN_NAMES[OWN]}” with its own. "
    )
    other = (
        "Columns that name another pixel space hold the same distance in pixels after standardisation, a smaller "
        "change of the image. "
    )
    return (
        f"Accuracy on {row['dataset']} of {row['model']}. Nearest-neighbour defences: knn with database and features, "
        f"K = {params['neighbors']}, {params['weighting']}, {params['combination']} combination. {attacked(params)} "
        f"{own if OWN in columns else ''}{other if any('/' in column for column in columns) else ''}"
        f"n images; {INTERVALS}. {worst_text(rows)}{BOLD}, no defence apart. "
        f"Columns and rows marked as the paper's are the values of its Table 2 ({PAPER}) for the defence or the "
        "database of the same kind; its IN-1.3M row there differs from its own Tables 1 and 4."
    )


def named(row: Row, params: Params) -> str:
    """Name of a row of the table."""
    return f"knn {row_name(row, params)}" if row["defense"] == "knn" else row_name(row, params)


def as_markdown(rows: Rows, params: Params) -> str:
    """The table in Markdown: ours with n and interval, the paper's counterpart beside it, the paper's others below."""
    columns, cells = _cells(rows, params)
    heads = ["Defence", "n", *(column_title(column) for (column,) in columns)]
    heads += ["Paper's counterpart", *(f"Paper: {SETTING_NAMES[name]}" for name in SETTINGS)]
    best = best_cells(cells, columns)
    paper = paper_cells(2, ("setting",))
    lines, used = [], set()
    for name, row in cells.items():
        first = next(iter(row.values()))
        other = counterpart(first, params.get("defense_kinds", {}).get(first["defense"], first["defense"]))
        used.add(other)
        lines.append([name, f"{first['n']:,}", *markdown_cells(row, columns, best), *_paper_texts(paper, other)])
    blank = [""] * (2 + len(columns))
    lines += [[*blank, *_paper_texts(paper, name)] for name in paper if name not in used]
    return "\n".join(["# Table 2", "", markdown(caption(rows, params)), "", *markdown_table(heads, lines)]) + "\n"


def as_latex(rows: Rows, params: Params) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 2, with the paper's rows below ours."""
    columns, cells = _cells(rows, params)
    names = {column: column_title(column[0]) for column in columns}
    table = latex_table("Defence", columns, cells, paper_cells(2, ("setting",)), names)
    return f"{latex_comment(caption(rows, params))}\n{table}"


def _cells(rows: Rows, params: Params) -> tuple[list[Column], dict[str, dict[Column, Row]]]:
    """Columns, the paper's three first, and the cells of every row of the table."""
    placed = [{**row, COLUMN: column_of(row, params)} for row in rows]
    columns, cells = arrange(placed, (COLUMN,), params)
    order = {(name,): place for place, name in enumerate((*SETTINGS, OWN, WORST))}
    named_cells = {named(next(iter(row.values())), params): row for row in cells.values()}
    return sorted(columns, key=lambda column: order.get(column, len(order))), named_cells


def _paper_texts(paper: Mapping[str, Mapping[Column, float]], name: str | None) -> list[str]:
    if name is None:
        return ["", "", "", ""]
    values = (paper[name].get((setting,)) for setting in SETTINGS)
    return [Marked(f"*{name}*"), *(Marked(f"*{value:.3f}*") if value is not None else "–" for value in values)]


PIECE = RowTable(
    name="table2",
    category="Tables",
    title="Accuracy of the defences side by side",
    varies="defence",
    shows="A row per defence, a column per threat model, the paper's counterpart beside it.",
    paper="PGD with Δ = 0.06; eleven rows, whose values stand beside ours (RA-CNN there is of a ResNet-18)",
    source="nndefense.report.sources:defenses",
    settings=SETTINGS,
    fixed=("epsilon", "neighbors", *VOTE),
    uses=("features",),
    select=select_table2,
    markdown=as_markdown,
    latex=as_latex,
)
