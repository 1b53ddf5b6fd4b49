"""Table 2: no defence, every database and every other defence, clean and attacked, beside the paper's values."""

from collections.abc import Mapping, Sequence
from typing import Any

from nndefense.report.accuracy_grid import (
    INTERVALS,
    accuracy_text,
    arrange,
    best_cells,
    latex_table,
    markdown_table,
    row_name,
)
from nndefense.report.names import SETTING_NAMES
from nndefense.report.paper import PAPER, counterpart, paper_cells
from nndefense.report.select import Row, at_base_attack, distinct, matching, table_databases
from nndefense.report.table1 import attacked

SETTINGS = ("clean", "gray_box", "black_box")
OWN = "gray_box-own"
COLUMN = "column"
COLUMN_NAMES = SETTING_NAMES | {OWN: "Gray box, on the defended network"}


def select_table2(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """The model without a defence, every other defence found in the rows, and every pool at its largest size.

    At the base attack and budget, in every pixel space found: the base space first.
    """
    spaces = sorted({row["space"] for row in rows} - {"none"}, key=lambda space: (space != base["space"], space))
    found = [row for space in spaces for row in _in_space(rows, dict(base) | {"space": space})]
    unique = {tuple(row.values()): row for row in found}
    return sorted(unique.values(), key=lambda row: distinct(found, "defense").index(row["defense"]))


def _in_space(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    bare = at_base_attack(matching(rows, defense="none"), base)
    others = at_base_attack([row for row in rows if row["defense"] not in ("none", "knn")], base)
    settled = [row for name in distinct(others, "defense") for row in settle(matching(others, defense=name), base)]
    return [*bare, *settled, *table_databases(rows, base, "weighting", "combination")]


def settle(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Rows of one defence at the base values, on the axes where it has them, and at its largest size."""
    for axis in ("features", "neighbors", "weighting", "combination"):
        rows = matching(rows, **{axis: base[axis]}) or rows
    return [row for row in rows if row["size"] == max(distinct(matching(rows, pool=row["pool"]), "size"))]


def column_of(row: Row, base: Mapping[str, Any]) -> str:
    """The column a row stands in: its setting, apart for a defence's own gradients and for another pixel space."""
    setting = OWN if row["setting"] == f"gray_box-{row['defense']}" else row["setting"]
    return setting if row["space"] in ("none", base["space"]) else f"{setting}/{row['space']}"


def column_title(column: str) -> str:
    """gray_box/standardized -> Gray box (standardized pixels)."""
    setting, _, space = column.partition("/")
    name = COLUMN_NAMES.get(setting, setting)
    return f"{name} ({space} pixels)" if space else name


def caption(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """What the table shows, and what its columns mean."""
    row = rows[0]
    columns = {column_of(one, base) for one in rows}
    own = (
        "Gray-box images of a defence that is a network of its own are made with the gradients of the undefended "
        f"network (they transfer), those of the column `{COLUMN_NAMES[OWN]}` with its own. "
    )
    other = (
        "Columns that name another pixel space hold the same distance in pixels after standardisation, a smaller "
        "change of the image. "
    )
    return (
        f"Accuracy on {row['dataset']} of {row['model']}. Nearest-neighbour defences: knn with database and features, "
        f"K = {base['neighbors']}, {base['weighting']}, {base['combination']} combination. {attacked(base)} "
        f"{own if OWN in columns else ''}{other if any('/' in column for column in columns) else ''}"
        f"n images; {INTERVALS}. Bold: the best defence of a column. Columns and rows marked as the paper's are the "
        f"values of its Table 2 ({PAPER}) for the defence or the database of the same kind; its IN-1.3M row there "
        "differs from its own Tables 1 and 4."
    )


def named(row: Row) -> str:
    """Name of a row of the table."""
    return f"knn {row_name(row)}" if row["defense"] == "knn" else row_name(row)


def as_markdown(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in Markdown: ours with n and interval, the paper's counterpart beside it, the paper's others below."""
    columns, cells = _cells(rows, base)
    heads = ["Defence", "n", *(column_title(column) for (column,) in columns)]
    heads += ["Paper's counterpart", *(f"Paper: {SETTING_NAMES[name]}" for name in SETTINGS)]
    best = best_cells(cells, columns)
    paper = paper_cells(2, ("setting",))
    lines, used = [], set()
    for row in cells.values():
        first = next(iter(row.values()))
        other = counterpart(first)
        used.add(other)
        texts = []
        for column in columns:
            here = row.get(column)
            text = accuracy_text(here) if here else ""
            texts.append(f"**{text}**" if here and id(here) in best else text)
        lines.append([named(first), f"{first['n']:,}", *texts, *_paper_texts(paper, other)])
    blank = [""] * (2 + len(columns))
    lines += [[*blank, *_paper_texts(paper, name)] for name in paper if name not in used]
    return "\n".join(["# Table 2", "", caption(rows, base), "", *markdown_table(heads, lines)]) + "\n"


def as_latex(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 2, with the paper's rows below ours."""
    columns, cells = _cells(rows, base)
    cells = {named(next(iter(row.values()))): row for row in cells.values()}
    names = {column: column_title(column[0]) for column in columns}
    table = latex_table("Defence", columns, cells, paper_cells(2, ("setting",)), names)
    return "\n".join([f"% {caption(rows, base)}", *table]) + "\n"


def _cells(rows: Sequence[Row], base: Mapping[str, Any]) -> tuple[list[tuple[str, ...]], dict[str, dict]]:
    """Columns, the paper's three first, and the cells of every row of the table."""
    placed = [dict(row) | {COLUMN: column_of(row, base)} for row in rows]
    columns, cells = arrange(placed, (COLUMN,))
    order = {(name,): place for place, name in enumerate((*SETTINGS, OWN))}
    return sorted(columns, key=lambda column: order.get(column, len(order))), cells


def _paper_texts(paper: Mapping[str, Mapping[tuple[str, ...], float]], name: str | None) -> list[str]:
    if name is None:
        return ["", "", "", ""]
    values = (paper[name].get((setting,)) for setting in SETTINGS)
    return [f"*{name}*", *(f"*{value:.3f}*" if value is not None else "–" for value in values)]
