"""All figures and tables as a Markdown list, for the README."""

from nndefense.core.errors import InputError
from nndefense.report.markup import Marked, markdown_table
from nndefense.report.piece import FIGURE
from nndefense.report.pieces import every_piece

START, END = "<!-- pieces -->", "<!-- /pieces -->"


def pieces_markdown() -> str:
    """A Markdown table of every figure and table: its file, what it shows, what the paper's own is of."""
    lines = []
    for piece in every_piece():
        suffix = "pdf" if piece.kind == FIGURE else "md"
        lines.append((Marked(f"`{piece.name}.{suffix}`"), f"{piece.heading}: {_lowered(piece.title)}", piece.paper))
    return "\n".join(markdown_table(("file", "shows", "the paper's own"), lines))


def with_list(text: str) -> str:
    """Text with the list between its markers. InputError where it lacks them."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"the list of figures and tables has no place; the text needs the lines {START} and {END}")
    return f"{before}{START}\n\n{pieces_markdown()}\n\n{END}{after}"


def _lowered(title: str) -> str:
    # Not of a name in capitals.
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]
