"""The history of a training as CSV: one row an epoch."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nndefense.core.files import read_csv, write_text
from nndefense.core.seals import fault

COLUMNS = ("epoch", "loss", "accuracy", "learning_rate")


def write_history(path: str | Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write what `nndefense.models.train.train` returns: numbers with six significant digits, no times."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in history:
        writer.writerow([row["epoch"], *(f"{row[name]:.6g}" for name in COLUMNS[1:])])
    write_text(path, text.getvalue())


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a written history, epochs as integers. FileFault for other columns or a damaged line."""
    lines = read_csv(path, COLUMNS, "a history of a training")
    try:
        return [{name: int(row[name]) if name == "epoch" else float(row[name]) for name in COLUMNS} for row in lines]
    except ValueError as error:
        raise fault(path, f"cannot be read as a history of a training ({error})") from error
