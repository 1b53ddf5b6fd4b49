"""Accuracy rows as CSV: the columns and their order are the same everywhere."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nndefense.errors import FileFault
from nndefense.files import fault, write_text
from nndefense.retrieval.accuracy import COLUMNS

INTEGERS = ("seed", "size", "neighbors", "n")
NUMBERS = ("epsilon", "delta_mean", "delta_max", "accuracy", "ci_low", "ci_high")


def format_rows(rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = COLUMNS) -> str:
    """Rows as CSV text; numbers with six digits after the point, so equal results give equal bytes."""
    columns = list(columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_text(column, row[column]) for column in columns])
    return text.getvalue()


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = COLUMNS) -> None:
    """Write rows as CSV, atomically."""
    write_text(path, format_rows(rows, columns))


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Accuracy rows of a CSV file, numbers converted. FileFault for other columns or a damaged line."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise fault(path, f"has columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
            rows = [dict(row) for row in reader]
        for row in rows:
            row |= {name: int(row[name]) for name in INTEGERS} | {name: float(row[name]) for name in NUMBERS}
    except FileFault:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise fault(path, f"cannot be read as accuracy rows ({error})") from error
    return rows


def collect_rows(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Accuracy rows of several CSV files, one file after the other."""
    return [row for path in paths for row in read_rows(path)]


def _text(column: str, value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) and column != "epsilon" else str(value)
