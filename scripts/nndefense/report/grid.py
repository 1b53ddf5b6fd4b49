"""Tables of accuracy with a row per database or defence: cells by column, the best of a column, Markdown and LaTeX."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.report.doubts import cell_marks, is_void
from nndefense.report.markup import Marked, latex, latex_line, latex_span, markdown, tabular
from nndefense.report.names import SETTING_NAMES, Params, defense_name, thousands
from nndefense.report.paper import PAPER
from nndefense.report.select import Row, Rows, distinct

Column = tuple[Any, ...]
Cells = Mapping[str, Mapping[Column, Row]]
Papers = Mapping[str, Mapping[Column, float]]
PART_NAMES = SETTING_NAMES | {"soft": "Soft", "hard": "Hard"}
INTERVALS = "in brackets the 95 % Wilson interval"
BOLD = "Bold: the best of a column, where its interval lies above all others'"


def row_name(row: Row, params: Params) -> str:
    """Name of a table row: No defence, Targeted-8k (conv_4_1), or a defence with the database it uses."""
    name = "No defence" if row["defense"] == NO_DEFENSE else defense_name(row["defense"], params)
    if row["pool"] == "none":
        return name
    database = f"{row['pool']}-{thousands(row['size'])} ({row['features']})"
    return database if row["defense"] == NEIGHBORS else f"{name} {database}"


def arrange(rows: Rows, axes: Sequence[str], params: Params) -> tuple[list[Column], dict[str, dict[Column, Row]]]:
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
        cells.setdefault(row_name(row, params), {})[tuple(place)] = row
    return columns, cells


def best_cells(cells: Cells, columns: Iterable[Column], *, bare: bool = False) -> set[int]:
    """Ids of the rows that are the best of their column beyond noise: their interval lies above all others'.

    Numbers that are void do not compete.

    bare: whether the network without a defence competes.
    """
    best = set()
    for column in columns:
        found = [row[column] for row in cells.values() if column in row]
        ranked = [row for row in found if (bare or row["defense"] != NO_DEFENSE) and not is_void(row)]
        ranked.sort(key=lambda row: -row["accuracy"])
        if len(ranked) > 1 and ranked[0]["ci_low"] > max(row["ci_high"] for row in ranked[1:]):
            best.add(id(ranked[0]))
    return best


def accuracy_text(row: Row) -> str:
    """Accuracy, its interval and cause for doubt; of a worst case the strongest attack, too."""
    by = f" {row['by']}" if "by" in row else ""
    return f"{row['accuracy']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]{by}{cell_marks(row)}"


def markdown_cells(row: Mapping[Column, Row], columns: Sequence[Column], best: set[int]) -> list[str]:
    """Cells of a row as Markdown, the best of a column in bold."""
    return [Marked(text) for text in _marked(row, columns, best, lambda one: markdown(accuracy_text(one)), "**{}**")]


def markdown_lines(cells: Cells, columns: Sequence[Column], best: set[int]) -> list[list[str]]:
    """The name of every row and its cells."""
    return [[name, *markdown_cells(row, columns, best)] for name, row in cells.items()]


def paper_lines(paper: Papers, columns: Sequence[Column], about: str = PAPER, digits: int = 3) -> list[list[str]]:
    """The paper's rows below a line that says so."""
    lines = [[Marked(f"*{name}*"), *_paper_texts(row, columns, digits)] for name, row in paper.items()]
    return [[Marked(f"*{about}:*"), *[""] * len(columns)], *lines] if lines else []


def latex_lines(cells: Cells, columns: Sequence[Column], best: set[int]) -> list[str]:
    """Our rows, the best of a column in bold."""
    texts = {name: _marked(row, columns, best, _plain, "\\textbf{{{}}}") for name, row in cells.items()}
    return [latex_line([latex(name), *row]) for name, row in texts.items()]


def latex_heading(columns: int, text: str) -> list[str]:
    """A rule, and a line of text across a table of a name and `columns` columns."""
    return ["\\midrule", latex_line([latex_span(columns + 1, f"\\emph{{{latex(text)}}}", "l")])]


def latex_paper_lines(paper: Papers, columns: Sequence[Column], about: str = PAPER, digits: int = 3) -> list[str]:
    """The paper's rows below a line that says so."""
    lines = [latex_line([latex(name), *_paper_texts(row, columns, digits)]) for name, row in paper.items()]
    return [*latex_heading(len(columns), about), *lines] if lines else []


def latex_table(
    first: str, columns: Sequence[Column], cells: Cells, paper: Papers, names: Mapping[Column, str] | None = None
) -> str:
    """A LaTeX tabular: a row of heads per part of a column, our rows, then the paper's.

    names: heads of columns where they are not the names of their last parts.
    """
    heads_of = {column: _part(column[-1]) for column in columns} | dict(names or {})
    heads = []
    for depth in range(1, len(columns[0])):
        groups = [(key, len(list(group))) for key, group in groupby(columns, key=lambda column: column[:depth])]
        heads.append(latex_line(["", *(latex_span(span, latex(_part(key[-1]))) for key, span in groups)]))
    heads.append(latex_line([first, *(latex(heads_of[column]) for column in columns)]))
    lines = [*latex_lines(cells, columns, best_cells(cells, columns)), *latex_paper_lines(paper, columns)]
    return tabular("l" + "r" * len(columns), heads, lines)


def column_name(column: Column) -> str:
    """("clean", "UW") -> Clean UW."""
    return " ".join(_part(part) for part in column)


def _part(name: str) -> str:
    return PART_NAMES.get(name, name)


def _plain(row: Row) -> str:
    return f"{row['accuracy']:.3f}{cell_marks(row)}"


def _marked(
    row: Mapping[Column, Row], columns: Sequence[Column], best: set[int], text: Callable[[Row], str], mark: str
) -> list[str]:
    found = [(row.get(column), text(row[column]) if column in row else "") for column in columns]
    return [mark.format(words) if one and id(one) in best else words for one, words in found]


def _paper_texts(row: Mapping[Column, float], columns: Sequence[Column], digits: int) -> list[str]:
    return [f"{row[column]:.{digits}f}" if column in row else "" for column in columns]
