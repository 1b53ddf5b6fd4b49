"""Which figures and tables there are, and which of them a configuration has the axes for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from nndefense.core.errors import InputError
from nndefense.core.registry import load
from nndefense.evaluation import KINDS
from nndefense.report import PIECES
from nndefense.report.names import Params
from nndefense.report.piece import FIGURE, Files, Made, Piece, attack_text
from nndefense.report.style import narrow

if TYPE_CHECKING:
    from nndefense.config import Config

# Accuracy has the figures.
KIND_PIECES = {f"rows_{name}": name for name in KINDS if name != "accuracy"}
NARROW = "_narrow"


@dataclass(frozen=True, kw_only=True)
class Narrow(Piece):
    """A figure, drawn for a column of a paper.

    Attributes:
        wide: the figure.
    """

    wide: Piece

    def make(self, files: Files, params: Params) -> Made:
        with narrow():
            made = self.wide.make(files, params)
            if made.figure is not None:
                # Ticks are made when they are first drawn, as large as letters are at that moment.
                made.figure.draw_without_rendering()
        return made


def narrowed(piece: Piece) -> Narrow:
    """The figure for a column: of the same files and parameters, with the same rows."""
    declared = {one.name: getattr(piece, one.name) for one in fields(Piece)}
    called = f"{piece.heading}, for a column"
    return Narrow(**declared | {"name": piece.name + NARROW, "called": called}, wide=piece)


def piece_target(name: str) -> str:
    """Where a figure or table is declared, "module:name". InputError for an unknown name."""
    if name in KIND_PIECES:
        return "nndefense.report.tables.kinds:kind_piece"
    if (declared := _wide_name(name)) not in PIECES:
        raise InputError(f"figure or table {name!r} is unknown; allowed: {', '.join([*PIECES, *KIND_PIECES])}")
    return PIECES[declared]


def _wide_name(name: str) -> str:
    """The name that a figure or table is declared under, fig5 for fig5_narrow."""
    return name if name in PIECES else name.removesuffix(NARROW)


def load_piece(name: str) -> Piece:
    """The figure or table of a name: of PIECES, a figure's with `_narrow`, or `rows_KIND` of an evaluation kind.

    Raises InputError for another name.
    """
    found = load(piece_target(name))
    if name in KIND_PIECES:
        return found(KIND_PIECES[name], KINDS[KIND_PIECES[name]].label)
    if name == _wide_name(name):
        return found
    if found.kind != FIGURE:
        raise InputError(f"{name!r} would be a table for a column; allowed: {NARROW} after the name of a figure")
    return narrowed(found)


def every_piece() -> list[Piece]:
    """All figures and tables, in the order of the report."""
    return [load_piece(name) for name in [*PIECES, *KIND_PIECES]]


def existing(config: Config) -> list[Piece]:
    """Figures and tables that the configuration has the axes for, in the order of the report."""
    return [piece for piece in every_piece() if piece.exists(config)]


def labels(piece: Piece, suffix: str, config: Config) -> dict[str, str]:
    """What Snakemake's report lists a file by; suffix: of the file.

    Snakemake's page turns a label with two values, each of half of a category's files, into a switch if it is the only
    such label; the switch breaks the page in browsers of before 2025, and in all where a piece lacks a file for one of
    its values. `shown` and `file` go together, so they are two such labels or none, and there is never a switch.
    """
    # A figure space sorts before digits: Figure 7 stands before Figure 10.
    kind, _, number = piece.heading.rpartition(" ")
    return {
        "what": f"{kind} {number:\u2007>2}" if number.isdigit() else piece.heading,
        "varies": piece.varies,
        "attack and setting": attack_text(piece, config) or "none",
        "shown": {"csv": "rows", "html": "page"}.get(suffix, "figure"),
        "file": suffix.upper(),
    }
