"""Tables of accuracy with a row per database: cells by column, the best of a column, Markdown and LaTeX."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from nndefense.report.names import SETTING_NAMES, defense_name, thousands
from nndefense.report.paper import PAPER
from nndefense.report.select import Row, distinct

Column = tuple[str, ...]
Cells = Mapping[str, Mapping[Column, Row]]
PART_NAMES = SETTING_NAMES | {"soft": "Soft", "hard": "Hard"}
INTERVALS = "in brackets the 95 % Wilson interval"


def row_name(row: Row) -> str:
    """Name of a table row: No defence, Targeted-8k (conv_4_1), or a defence with the database it uses."""
    if row["pool"] == "none":
        return defense_name(row["defense"])
    database = f"{row['pool']}-{thousands(row['size'])} ({row['features']})"
    return database if row["defense"] == "knn" else f"{defense_name(row['defense'])} {database}"


def arrange(rows: Sequence[Row], axes: Sequence[str]) -> tuple[list[Column], dict[str, dict[Column, Row]]]:
    """Columns (every combination of the values of `axes`, in their order), and each table row's cells by column.

    A row without a vote (`none`) has one value for all: it stands in the first column of its setting.
    """
    values = [[value for value in distinct(rows, axis) if value != "none"] for axis in axes]
    columns: list[Column] = [()]
    for names in values:
        columns = [(*column, name) for column in columns for name in names]
    cells: dict[str, dict[Column, Row]] = {}
    for row in rows:
        place = [names[0] if row[axis] == "none" else row[axis] for axis, names in zip(axes, values, strict=True)]
        cells.setdefault(row_name(row), {})[tuple(place)] = row
    return columns, cells


def best_cells(cells: Cells, columns: Iterable[Column]) -> set[int]:
    """Ids of the rows that have the highest accuracy of a defence within their column."""
    best = set()
    for column in columns:
        found = [row[column] for row in cells.values() if column in row and row[column]["defense"] != "none"]
        top = max((row["accuracy"] for row in found), default=None)
        best |= {id(row) for row in found if row["accuracy"] == top}
    return best


def accuracy_text(row: Row) -> str:
    """Accuracy and its interval."""
    return f"{row['accuracy']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(line)} |" for line in lines)]


def markdown_lines(
    columns: Sequence[Column], cells: Cells, paper: Mapping[str, Mapping[Column, float]]
) -> list[list[str]]:
    """Our rows, with the best of a column in bold, then the paper's below a line that says so."""
    best = best_cells(cells, columns)
    lines = []
    for name, row in cells.items():
        texts = [accuracy_text(row[column]) if column in row else "" for column in columns]
        marked = [column in row and id(row[column]) in best for column in columns]
        lines.append([name, *(f"**{text}**" if mark else text for text, mark in zip(texts, marked, strict=True))])
    if paper:
        lines.append([f"*{PAPER}:*", *[""] * len(columns)])
        lines += [[f"*{name}*", *_paper_texts(row, columns)] for name, row in paper.items()]
    return lines


def latex_table(
    first: str,
    columns: Sequence[Column],
    cells: Cells,
    paper: Mapping[str, Mapping[Column, float]],
    names: Mapping[Column, str] | None = None,
) -> list[str]:
    """Lines of a LaTeX tabular (booktabs): a row of heads per part of a column, our rows, then the paper's.

    names: heads of columns where they are not the names of their last parts.
    """
    heads_of = {column: _part(column[-1]) for column in columns} | dict(names or {})
    best = best_cells(cells, columns)
    lines = ["\\begin{tabular}{l" + "r" * len(columns) + "}", "\\toprule"]
    for depth in range(1, len(columns[0])):
        groups = [(key, len(list(group))) for key, group in groupby(columns, key=lambda column: column[:depth])]
        heads = (f"\\multicolumn{{{span}}}{{c}}{{{_escaped(_part(key[-1]))}}}" for key, span in groups)
        lines.append(f" & {' & '.join(heads)} \\\\")
    lines += [f"{first} & {' & '.join(_escaped(heads_of[column]) for column in columns)} \\\\", "\\midrule"]
    for name, row in cells.items():
        texts = [f"{row[column]['accuracy']:.3f}" if column in row else "" for column in columns]
        marked = [column in row and id(row[column]) in best for column in columns]
        shown = [f"\\textbf{{{text}}}" if mark else text for text, mark in zip(texts, marked, strict=True)]
        lines.append(" & ".join([_escaped(name), *shown]) + " \\\\")
    if paper:
        lines += ["\\midrule", f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\emph{{{PAPER}}}}} \\\\"]
        lines += [" & ".join([_escaped(name), *_paper_texts(row, columns)]) + " \\\\" for name, row in paper.items()]
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def column_name(column: Column) -> str:
    """("clean", "UW") -> Clean UW."""
    return " ".join(_part(part) for part in column)


def _part(name: str) -> str:
    return PART_NAMES.get(name, name)


def _paper_texts(row: Mapping[Column, float], columns: Sequence[Column]) -> list[str]:
    return [f"{row[column]:.3f}" if column in row else "" for column in columns]


def _escaped(text: str) -> str:
    return text.replace("_", "\\_").replace("%", "\\%")
