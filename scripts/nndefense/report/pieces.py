"""Which figures and tables there are, and which of them a configuration has the axes for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nndefense.core.errors import InputError
from nndefense.core.registry import load
from nndefense.evaluation import KINDS
from nndefense.report import PIECES
from nndefense.report.piece import Piece, attack_text

if TYPE_CHECKING:
    from nndefense.config import Config

# Accuracy has the figures.
KIND_PIECES = {f"rows_{name}": name for name in KINDS if name != "accuracy"}


def piece_target(name: str) -> str:
    """Where a figure or table is declared, "module:name". InputError for an unknown name."""
    if name in KIND_PIECES:
        return "nndefense.report.tables.kinds:kind_piece"
    if name not in PIECES:
        raise InputError(f"figure or table {name!r} is unknown; allowed: {', '.join([*PIECES, *KIND_PIECES])}")
    return PIECES[name]


def load_piece(name: str) -> Piece:
    """The figure or table of a name: of PIECES, or `rows_KIND` of an evaluation kind. InputError for another name."""
    found = load(piece_target(name))
    if name in KIND_PIECES:
        return found(KIND_PIECES[name], KINDS[KIND_PIECES[name]].label)
    return found


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
