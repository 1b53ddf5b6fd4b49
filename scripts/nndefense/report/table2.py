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

AXES = ("setting",)
SETTINGS = ("clean", "gray_box", "black_box")


def select_table2(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """The model without a defence, every other defence found in the rows, and every pool at its largest size."""
    bare = at_base_attack(matching(rows, defense="none"), base)
    others = at_base_attack([row for row in rows if row["defense"] not in ("none", "knn")], base)
    settled = [row for name in distinct(others, "defense") for row in settle(matching(others, defense=name), base)]
    return [*bare, *settled, *table_databases(rows, base, "weighting", "combination")]


def settle(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Rows of one defence at the base values, on the axes where it has them, and at its largest size."""
    for axis in ("features", "neighbors", "weighting", "combination"):
        rows = matching(rows, **{axis: base[axis]}) or rows
    return [row for row in rows if row["size"] == max(distinct(matching(rows, pool=row["pool"]), "size"))]


def caption(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """What the table shows, and what its columns mean."""
    row = rows[0]
    return (
        f"Accuracy on {row['dataset']} of {row['model']}. Nearest-neighbour defences: knn with database and features, "
        f"K = {base['neighbors']}, {base['weighting']}, {base['combination']} combination. {attacked(base)} "
        f"n images; {INTERVALS}. Bold: the best defence of a column. Columns and rows marked as the paper's are the "
        f"values of its Table 2 ({PAPER}) for the defence or the database of the same kind; its IN-1.3M row there "
        "differs from its own Tables 1 and 4."
    )


def named(row: Row) -> str:
    """Name of a row of the table."""
    return f"knn {row_name(row)}" if row["defense"] == "knn" else row_name(row)


def as_markdown(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in Markdown: ours with n and interval, the paper's counterpart beside it, the paper's others below."""
    heads = ["Defence", "n", *(SETTING_NAMES[name] for name in SETTINGS)]
    heads += ["Paper's counterpart", *(f"Paper: {SETTING_NAMES[name]}" for name in SETTINGS)]
    columns, cells = arrange(rows, AXES)
    best = best_cells(cells, columns)
    paper = paper_cells(2, AXES)
    lines, used = [], set()
    for row in cells.values():
        first = next(iter(row.values()))
        other = counterpart(first)
        used.add(other)
        texts = []
        for name in SETTINGS:
            here = row.get((name,))
            text = accuracy_text(here) if here else ""
            texts.append(f"**{text}**" if here and id(here) in best else text)
        lines.append([named(first), f"{first['n']:,}", *texts, *_paper_texts(paper, other)])
    lines += [["", "", "", "", "", *_paper_texts(paper, name)] for name in paper if name not in used]
    return "\n".join(["# Table 2", "", caption(rows, base), "", *markdown_table(heads, lines)]) + "\n"


def as_latex(rows: Sequence[Row], base: Mapping[str, Any]) -> str:
    """The table in LaTeX (booktabs), in the shape of the paper's Table 2, with the paper's rows below ours."""
    columns, cells = arrange(rows, AXES)
    cells = {named(next(iter(row.values()))): row for row in cells.values()}
    table = latex_table("Defence", columns, cells, paper_cells(2, AXES))
    return "\n".join([f"% {caption(rows, base)}", *table]) + "\n"


def _paper_texts(paper: Mapping[str, Mapping[tuple[str, ...], float]], name: str | None) -> list[str]:
    if name is None:
        return ["", "", "", ""]
    values = (paper[name].get((setting,)) for setting in SETTINGS)
    return [f"*{name}*", *(f"*{value:.3f}*" if value is not None else "–" for value in values)]
