"""Markdown, LaTeX, reStructuredText and HTML: tables, and text from outside that must stay text.

Labels, names of classes and whatever else is not ours may hold anything. Each kind of document has one function here
that makes it stand there as it is: `markdown`, `latex`, `rst`, `html`. Figures have `style.figure_bytes`; terminals
have `core.text.one_line`, which all of these begin with. A CSV keeps text as it is, because jobs read it again: quotes
keep it in its cell, and a spreadsheet should be told to import it as text.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape

from nndefense.core.text import one_line

_LATEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "`": "\\textasciigrave{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
}
# What acts anywhere: but an underscore within a word, brackets that are followed by no address, and signs in sentences.
_MARKDOWN = re.compile(
    r"[\\`*$~|]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\](?=[\[(:])|(?<![^\W_])_|_(?![^\W_])",
)
# What begins a heading, a quotation, a rule or a list where a line does.
_MARKDOWN_FIRST = re.compile(r"^(\d{0,9})([.)](?=\s|$)|#|>|=|[-+](?=[\s+-]|$))")
# Of two colons at an end, the second; they announce what is not to be read as text.
_RST = re.compile(r"([\\*`|_\[\]<>]|(?<=:):)")
# What may begin a list, a comment or directive, a field, a table or a heading; a number with a sign does not.
_RST_FIRST = re.compile(r"^(?:(?![-+]\d)[^\w\\]|\\\\|(?:[A-Za-z]|\d+|[IVXLCDMivxlcdm]+)[.)](?:\s|$))")


class Marked(str):
    """Markdown, which `markdown` leaves as it is."""

    __slots__ = ()


def html(text: str) -> str:
    """Text that HTML shows as it is, also within the quotes of an attribute."""
    return escape(one_line(text))


def rst(text: str) -> str:
    """Text that reStructuredText, and Jinja before it, leave as it is; on one line, which it may begin."""
    text = _RST.sub(r"\\\1", one_line(text))
    # An escaped space vanishes in reStructuredText, and keeps braces from being a Jinja expression.
    text = text.replace("{", "{\\ ").replace("}", "\\ }")
    return _RST_FIRST.sub(r"\\ \g<0>", text)


def latex(text: str) -> str:
    """Text that LaTeX prints as it is, on one line, which it may begin."""
    found = "".join(_LATEX.get(one, one) for one in one_line(text)).replace("--", "-{}-")
    # Behind the end of a row they would be an option of it.
    return f"{{{found[0]}}}{found[1:]}" if found[:1] in ("[", "*") else found


def latex_comment(text: str) -> str:
    """Text as a comment of LaTeX: one line, whatever it holds."""
    return f"% {one_line(text)}"


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


def markdown(text: str) -> Marked:
    """Text that Markdown shows as it is, on one line, which it may begin; `Marked` text as it is."""
    return text if isinstance(text, Marked) else Marked(_MARKDOWN_FIRST.sub(r"\1\\\2", _within(text)))


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; cells are text, or `Marked`, of which a bar or a line's end stays within the cell."""
    rows = [[_cell(text) for text in line] for line in (heads, *lines)]
    texts = [f"| {' | '.join(row)} |" for row in rows]
    return [texts[0], "|---" * len(heads) + "|", *texts[1:]]


def _within(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text).strip())


def _cell(text: str) -> str:
    text = re.sub(r"\s*\n\s*", " ", text) if isinstance(text, Marked) else _within(text)
    return re.sub(r"(?<!\\)((?:\\\\)*)\|", r"\1\\|", text)
