"""Markdown and LaTeX: tables, and text from outside that must stay text."""

import re
from collections.abc import Iterable, Sequence

_LATEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
}


def latex(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    return "".join(_LATEX.get(one, one) for one in " ".join(text.split()))


def latex_comment(text: str) -> str:
    """Text as a comment of LaTeX: one line, whatever it holds."""
    return f"% {' '.join(text.split())}"


def latex_line(cells: Iterable[str]) -> str:
    """A row of a tabular; cells: LaTeX."""
    return " & ".join(cells) + " \\\\"


def latex_span(columns: int, text: str, align: str = "c") -> str:
    """A cell of several columns; text: LaTeX."""
    return f"\\multicolumn{{{columns}}}{{{align}}}{{{text}}}"


def tabular(align: str, heads: Iterable[str], lines: Iterable[str]) -> str:
    """A tabular in the look of booktabs; heads, lines: rows of it."""
    parts = [f"\\begin{{tabular}}{{{align}}}", "\\toprule", *heads, "\\midrule", *lines]
    return "\n".join([*parts, "\\bottomrule", "\\end{tabular}"]) + "\n"


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; a bar or a line's end within a cell stays within it."""
    rows = [[_cell(text) for text in line] for line in (heads, *lines)]
    texts = [f"| {' | '.join(row)} |" for row in rows]
    return [texts[0], "|---" * len(heads) + "|", *texts[1:]]


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).replace("|", "\\|")
