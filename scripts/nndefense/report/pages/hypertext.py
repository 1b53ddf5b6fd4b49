"""The Markdown of this project's tables as HTML: headings, paragraphs, lists, tables, bold, italic and code."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby


def inline(text: str) -> str:
    """One line: `code`, **bold** and *italic*; everything else is escaped."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        f"<code>{escape(part[1:-1])}</code>" if len(part) > 2 and part[0] == part[-1] == "`" else _emphasised(part)
        for part in parts
    )


def _emphasised(text: str) -> str:
    text = re.sub(r"\*\*(\S(?:[^*]*\S)?)\*\*", r"<strong>\1</strong>", escape(text, quote=False))
    return re.sub(r"\*(\S(?:[^*]*\S)?)\*", r"<em>\1</em>", text)


def kind_of(line: str) -> str:
    """What a line of Markdown is part of: heading, table, list, nothing or a paragraph."""
    if re.match(r"#{1,6} ", line):
        return "heading"
    for start, kind in (("|", "table"), ("- ", "list")):
        if line.startswith(start):
            return kind
    return "paragraph" if line.strip() else "nothing"


def html_of(markdown: str, *, below: int = 0) -> str:
    """Markdown as HTML; headings become `below` levels lower."""
    blocks: list[str] = []
    for kind, group in groupby(markdown.splitlines(), key=kind_of):
        lines = list(group)
        if kind == "heading":
            blocks += [_heading(line, below) for line in lines]
        elif kind == "table":
            blocks.append(_table([_cells(line) for line in lines]))
        elif kind == "list":
            blocks.append(f"<ul>{''.join(f'<li>{inline(line[2:])}</li>' for line in lines)}</ul>")
        elif kind == "paragraph":
            blocks.append(f"<p>{inline(' '.join(lines))}</p>")
    return "\n".join(blocks)


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
    cells = re.split(r"(?<!\\)\|", re.sub(r"\A\||(?<!\\)\|\Z", "", line.strip()))
    return [cell.strip().replace("\\|", "|") for cell in cells]


def _table(rows: Sequence[Sequence[str]]) -> str:
    return f'<div class="wide"><table>{"".join(_table_rows(rows))}</table></div>'


def _table_rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    heads = "".join(f"<th scope='col'>{inline(cell)}</th>" for cell in rows[0])
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for cells in rows[1:]:
        if not all(re.fullmatch(r":?-{3,}:?", cell) for cell in cells):
            yield f"<tr>{''.join(f'<td>{inline(cell)}</td>' for cell in cells)}</tr>"
    yield "</tbody>"
