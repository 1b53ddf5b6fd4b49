"""The Markdown of this project's tables as HTML: headings, paragraphs, lists, tables, bold, italic and code."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from nndefense.report.markup import html

# A backslash before punctuation makes it text, but for code.
_PARTS = re.compile(r"(\\[!-/:-@\[-`{-~]|`[^`]+`)")
_TAGS = {"strong": re.compile(r"\*\*(\S(?:[^*]*\S)?)\*\*"), "em": re.compile(r"\*(\S(?:[^*]*\S)?)\*")}
# Stands for such a part while emphasis is looked for; `html` leaves no letter of this kind.
_HELD = "\ue000{}\ue001"


def inline(text: str) -> str:
    """One line: `code`, **bold**, *italic*, and \\* for a letter that starts none of these; the rest is escaped."""
    parts = _PARTS.split(text)
    held = [html(part[1:]) if part[0] == "\\" else f"<code>{html(part[1:-1])}</code>" for part in parts[1::2]]
    texts = [html(part) for part in parts[::2]]
    marked = "".join(f"{one}{_HELD.format(place)}" for place, one in enumerate(texts[:-1])) + texts[-1]
    for tag, mark in _TAGS.items():
        marked = mark.sub(rf"<{tag}>\1</{tag}>", marked)
    return re.sub(_HELD.format(r"(\d+)"), lambda found: held[int(found[1])], marked)


def kind_of(line: str) -> str:
    """What a line of Markdown is part of: heading, table, list, nothing or a paragraph."""
    if re.match(r"#{1,6} ", line):
        return "heading"
    for start, kind in (("|", "table"), ("- ", "list")):
        if line.startswith(start):
            return kind
    return "paragraph" if line.strip() else "nothing"


def html_of(markdown: str, *, below: int = 0, label: str = "Table") -> str:
    """Markdown as HTML.

    Args:
        markdown: of this project's tables and comparisons.
        below: by how many levels headings become lower.
        label: what a table without a heading above it is called by screen readers; others add their heading.
    """
    blocks: list[str] = []
    heading, names = "", Counter[str]()
    for kind, group in groupby(markdown.splitlines(), key=kind_of):
        lines = list(group)
        if kind == "heading":
            blocks += [_heading(line, below) for line in lines]
            heading = bare(lines[-1].partition(" ")[2])
        elif kind == "table":
            name = ": ".join(filter(None, (html(label), heading)))
            names[name] += 1
            # Regions of one page need names of their own.
            number = f" ({names[name]})" if names[name] > 1 else ""
            blocks.append(wide(_table([_cells(line) for line in lines]), f"{name}{number}"))
        elif kind == "list":
            blocks.append(f"<ul>{''.join(f'<li>{inline(line[2:])}</li>' for line in lines)}</ul>")
        elif kind == "paragraph":
            blocks.append(f"<p>{inline(' '.join(lines))}</p>")
    return "\n".join(blocks)


def bare(text: str) -> str:
    """One line of Markdown without its marks, as HTML."""
    return re.sub(r"<[^>]*>", "", inline(text))


def wide(content: str, name: str) -> str:
    """Content that scrolls sideways where it is wider than the page, also by keys; content, name: HTML."""
    return f'<div class="wide" role="region" tabindex="0" aria-label="{name}">{content}</div>'


def without_title(markdown: str) -> str:
    """Markdown without the heading that it begins with."""
    return re.sub(r"\A# [^\n]*\n+", "", markdown)


def _heading(line: str, below: int) -> str:
    marks, _, text = line.partition(" ")
    level = min(6, len(marks) + below)
    return f"<h{level}>{inline(text)}</h{level}>"


def _cells(line: str) -> list[str]:
    # No line ends within an interval.
    line = re.sub(r"\[[^\]|]*\]", lambda found: found[0].replace(" ", "\u00a0"), line)
    cells = re.findall(r"\|((?:\\.|[^\\|])*)(?=\|)", line.strip())
    # Within code, too, a bar is written with a backslash in a table.
    return [re.sub(r"`[^`]*`", lambda found: found[0].replace("\\|", "|"), cell.strip()) for cell in cells]


def _table(rows: Sequence[Sequence[str]]) -> str:
    return f"<table>{''.join(_table_rows(rows))}</table>"


def _table_rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    # A corner without words is no heading.
    heads = "".join(f"<th scope='col'>{inline(cell)}</th>" if cell else "<td></td>" for cell in rows[0])
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    # The second line only says which cells there are.
    for cells in rows[2:]:
        yield f"<tr>{''.join(f'<td>{inline(cell)}</td>' for cell in cells)}</tr>"
    yield "</tbody>"
