"""The history of a training as CSV: one row an epoch."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nndefense.files import fault, write_text

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
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            header, *lines = csv.reader(handle)
            if tuple(header) != COLUMNS:
                raise ValueError(f"columns {', '.join(header)}, expected {', '.join(COLUMNS)}")
            rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
        return [{name: int(row[name]) if name == "epoch" else float(row[name]) for name in COLUMNS} for row in rows]
    except (OSError, ValueError) as error:
        raise fault(path, f"is no history of a training ({error})") from error
