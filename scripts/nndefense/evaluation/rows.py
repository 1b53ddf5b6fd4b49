"""Result rows as CSV: a shared core of columns, then those that an evaluation kind measures."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nndefense.axes.cells import Cell
from nndefense.core.errors import FileFault
from nndefense.core.files import read_csv, write_text
from nndefense.core.seals import fault
from nndefense.evaluation.accuracy import ACCURACY
from nndefense.evaluation.base import Answers, Kind, Summary
from nndefense.evaluation.outcomes import read_predictions, split_place

# In the order of the first result files.
AXES = (
    "dataset",
    "seed",
    "pool",
    "size",
    "model",
    "features",
    "neighbors",
    "weighting",
    "combination",
    "defense",
    "attack",
    "setting",
    "space",
    "epsilon",
)
COLUMNS = (*AXES, *ACCURACY.columns)
INTEGERS = ("seed", "size", "neighbors")


def rows_of(kind: Kind, answers: Sequence[Answers], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Result rows of a kind, with the columns AXES and the kind's own, in that order.

    Args:
        kind: what is measured.
        answers: of one file.
        facts: the columns dataset, seed and model.
    """
    measured = kind.measure(answers)
    return [
        {name: ({**facts, **one.cell._asdict()} | values)[name] for name in (*AXES, *kind.columns)}
        for one, values in zip(answers, measured, strict=True)
    ]


def summary_rows(summary: Summary, answers: Sequence[Answers], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Result rows of a summary, with the columns AXES and its own.

    Args:
        summary: what is measured.
        answers: all of a layer or defence.
        facts: the columns dataset, seed and model.
    """
    return [
        {name: ({**facts, **cell._asdict()} | values)[name] for name in (*AXES, *summary.columns)}
        for cell, values in summary.summarize(answers)
    ]


def accuracy_row(classes: Any, labels: Any, delta: Any = None, **axes: Any) -> dict[str, Any]:
    """One accuracy row of arrays (n,), with the columns COLUMNS; axes: the values of AXES, delta: default 0."""
    import numpy as np

    labels = np.asarray(labels)
    delta = np.zeros(len(labels)) if delta is None else np.asarray(delta, dtype=np.float64)
    facts = {name: axes.pop(name) for name in ("dataset", "seed", "model")}
    answers = Answers(Cell(**axes), np.asarray(classes), labels, np.arange(len(labels)), delta)
    return rows_of(ACCURACY, [answers], facts)[0]


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


def read_rows(path: str | Path, kind: Kind | Summary | None = ACCURACY) -> list[dict[str, Any]]:
    """Result rows of a CSV file, numbers converted.

    Args:
        path: the file.
        kind: whose columns it must have; None: whatever stands behind AXES.

    Raises:
        FileFault: other columns, or a damaged line.
    """
    lines = read_csv(path, None if kind is None else (*AXES, *kind.columns), "result rows")
    if lines and tuple(lines[0])[: len(AXES)] != AXES:
        raise fault(path, f"has columns {', '.join(lines[0])}, expected {', '.join(AXES)} and then others")
    try:
        return [{name: _value(name, text) for name, text in line.items()} for line in lines]
    except ValueError as error:
        raise fault(path, f"cannot be read as result rows ({error})") from error


def measured_rows(path: str | Path, kind: Kind, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Result rows of a file of answers, `…/predictions/{model}/{layer or defence}/{pack}.npz`.

    Numbers are as `read_rows` gives them, so it is all the same whether rows were written in between.

    Args:
        path: the file.
        kind: what is measured.
        facts: the columns dataset and seed.
    """
    model, system, pack = split_place(path)
    rows = rows_of(kind, read_predictions(path, system, pack), {**facts, "model": model})
    return [{name: _value(name, _text(name, value)) for name, value in row.items()} for row in rows]


def collect_rows(
    paths: Iterable[str | Path], kind: Kind | Summary | None = ACCURACY, facts: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Result rows of several files, one file after the other: CSV, or answers (`.npz`), which are measured.

    Args:
        paths: of the files.
        kind: as of `read_rows`; of answers, what is measured.
        facts: as of `measured_rows`, where there are answers.

    Raises:
        FileFault: columns of files differ, or as `read_rows` and `read_predictions`.
    """
    found: list[dict[str, Any]] = []
    for path in paths:
        if Path(path).suffix == ".npz":
            assert isinstance(kind, Kind), "answers are measured by a kind"
            assert facts is not None, "answers need facts"
            rows = measured_rows(path, kind, facts)
        else:
            rows = read_rows(path, kind)
        if rows and found and list(rows[0]) != list(found[0]):
            raise FileFault(f"{path}: has columns {', '.join(rows[0])}, other files {', '.join(found[0])}")
        found += rows
    return found


def _value(name: str, text: str) -> Any:
    if name in INTEGERS:
        return int(text)
    if name in AXES:
        return float(text) if name == "epsilon" else text
    # Measured columns: a count, a number, or words.
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    if name in ACCURACY.columns:
        raise ValueError(f"{name} is {text!r}, no number")
    return text


def _text(column: str, value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) and column != "epsilon" else str(value)
