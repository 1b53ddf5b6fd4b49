"""What tables and figures say of numbers that give cause for doubt: columns DOUBTS of result rows, in words.

An attack that did nothing to an image leaves an accuracy that it does not bound; so a number is void where such images
are at least IDLE of all. Neighbours fewer than K, and test images that a database has, are told whenever there are any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from nndefense.axes.cells import NEIGHBORS, PREDICTIONS
from nndefense.core.arrays import read_arrays
from nndefense.core.seals import read_seal
from nndefense.evaluation.accuracy import DOUBTS
from nndefense.evaluation.doubts import doubt_name
from nndefense.evaluation.outcomes import split_place
from nndefense.report.legends import raise_above
from nndefense.report.markup import latex_comment, markdown
from nndefense.report.names import thousands
from nndefense.report.select import Row, Rows

if TYPE_CHECKING:
    from nndefense.report.piece import Files, Made

# As a worst case that twice the steps move by so much (`nndefense.report.worst.POINT`).
IDLE = 0.01
# Notes below a figure, and letters of an inch of them.
SHOWN, LETTERS = 5, 18
WORDS = ", ".join(DOUBTS)


def is_void(row: Row) -> bool:
    """Whether the attack did nothing to so many images that the number says little of it."""
    return row.get("idle", 0) >= max(1, IDLE * row["n"]) if "n" in row else False


def rests_on_fewer(row: Row) -> bool:
    """Whether some answers rest on fewer neighbours than the row says."""
    # Written with six digits; another defence's neighbours are its own affair.
    asked = row.get("neighbors", 0)
    return row.get("defense") == NEIGHBORS and row.get("voters", asked) < asked - 1e-6


def cell_marks(row: Row) -> str:
    """What stands behind a number of a table; empty for one without doubt."""
    found = [f"void: the attack did nothing to {row['idle']:,} of {row['n']:,} images"] if is_void(row) else []
    found += [f"{row['voters']:.1f} neighbours"] if rests_on_fewer(row) else []
    return "".join(f"; {one}" for one in found)


def notes(rows: Rows) -> list[str]:
    """Sentences on the rows of a table or figure, each once."""
    found = [*map(_idle_note, filter(is_void, rows)), *map(_voters_note, filter(rests_on_fewer, rows))]
    return list(dict.fromkeys([*found, *_leaks(rows)]))


def _idle_note(row: Row) -> str:
    where = f"{row['attack']}, {row['setting']}, Δ = {row['epsilon']:g} ({row['space']})"
    return f"void: {where}: the attack did nothing to {row['idle']:,} of {row['n']:,} images"


def _voters_note(row: Row) -> str:
    where = f"{_database(row)} ({row['features']}), K = {row['neighbors']}, {row['attack']} {row['epsilon']:g}"
    return f"few neighbours: {where}: answers rest on {row['voters']:.2f} on average"


def _leaks(rows: Iterable[Row]) -> list[str]:
    """A sentence for each database that has test images, by the row that tells of most."""
    most: dict[str, Row] = {}
    for row in rows:
        # Attacked images are near to fewer; the same test images have the same copies.
        if row.get("near", 0) and row["near"] > most.get(_database(row), {"near": 0})["near"]:
            most[_database(row)] = row
    return [
        f"leak: {name} has {row['copies']:,} of {row['n']:,} test images, pixel by pixel, and "
        f"{row['near'] - row['copies']:,} more nearly"
        for name, row in most.items()
    ]


def _database(row: Row) -> str:
    return f"{row['pool']}-{thousands(row['size'])}"


def answer_notes(paths: Iterable[str | Path]) -> list[str]:
    """Sentences on attacks that did nothing, from files of answers: for what is made of them without result rows."""
    found = []
    for path in paths:
        _, _, pack = split_place(path)
        members = read_seal(path)["about"]["members"]
        for queries in pack:
            if (name := doubt_name("idle", queries)) in members:
                idle = read_arrays(path, name)[name]
                row = {**queries.columns(), "idle": int(idle.sum()), "n": len(idle)}
                found += [_idle_note(row)] if is_void(row) else []
    return list(dict.fromkeys(found))


def noted(made: Made, files: Files) -> Made:
    """A figure or table with notes on what it is made of below it; as it is without any.

    Args:
        made: the figure or table.
        files: that it was made of, by role; answers among them are asked where its rows do not tell.
    """
    answers = [path for paths in files.values() for path in paths if PREDICTIONS in Path(path).parts[:-1]]
    told = made.rows and "idle" in made.rows[0]
    found = notes(made.rows) if told else answer_notes(path for path in answers if Path(path).suffix == ".npz")
    if not found:
        return made
    if made.figure is not None:
        shown = found[:SHOWN] + ([f"and {len(found) - SHOWN} more, see the columns {WORDS}"] if found[SHOWN:] else [])
        width = int(LETTERS * made.figure.get_figwidth())
        note = made.figure.supxlabel("\n".join(fill(one, width) for one in shown), fontsize=7, color="firebrick")
        raise_above(made.figure, note)
        return made
    lines = "\n".join(f"- {markdown(one)}" for one in found)
    comments = "\n".join(map(latex_comment, found))
    return replace(made, markdown=f"{made.markdown}\n{lines}\n", latex=f"{comments}\n{made.latex}")
