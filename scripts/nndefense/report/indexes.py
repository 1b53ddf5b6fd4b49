"""What search indexes find, what their votes are worth, and what they cost, against the exact search."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nndefense.axes.cells import NEIGHBORS, Cell, System
from nndefense.axes.queries import Pack
from nndefense.core.arrays import read_arrays
from nndefense.core.seals import fault
from nndefense.database.measure import recall_at
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.pairs import mean_interval, paired_difference
from nndefense.evaluation.rows import AXES
from nndefense.report.names import Params, attack_name, setting_name
from nndefense.report.select import Row, Rows, distinct, matching

# Columns that differ from run to run and from machine to machine.
TIMES = ("train_seconds", "add_seconds", "queries_per_second", "slowest", "fastest")
COLUMNS = (
    *AXES,
    "index",
    "recall",
    "recall_low",
    "recall_high",
    "recall_n",
    "accuracy",
    "ci_low",
    "ci_high",
    "n",
    "difference",
    "difference_low",
    "difference_high",
    "matters",
    "bytes_per_vector",
    *TIMES,
)
SYSTEM = ("pool", "size", "features", "neighbors", "weighting", "combination")
# One point of accuracy: a difference that is proven to be smaller does not matter.
MARGIN = 0.01
YES, NO, OPEN = "yes", "no", "undecided"


def read_indexes(paths: Sequence[str], params: Params) -> list[Row]:
    """Rows of COLUMNS, by index and set of images; the exact search, whose neighbours are the right ones, first.

    Args:
        paths: as `measure_index.py` writes them, the exact search first.
        params: `indexes`, their names; `queries`, packs of one query set each; base values, and `facts` of the run.

    Raises:
        FileFault: a damaged file, or one of other images.
    """
    stored = [read_arrays(path) for path in paths]
    exact, found = stored[0], []
    for path, name, one in zip(paths, params["indexes"], stored, strict=True):
        if not np.array_equal(one["rows"], exact["rows"]) or one["ids"].shape != exact["ids"].shape:
            raise fault(path, f"is of other images than {paths[0]}")
        for number, pack in enumerate(params["queries"]):
            found.append(_row(name, Pack.parse(pack), number, one, exact, params))
    return found


def _row(name: str, pack: Pack, number: int, one: Mapping[str, Any], exact: Mapping[str, Any], params: Params) -> Row:
    system = System(*[*(params[axis] for axis in SYSTEM), NEIGHBORS])
    (queries,) = pack
    right, reference = ((part["classes"][number] == part["labels"]) for part in (one, exact))
    recall = recall_at(one["ids"][number], exact["ids"][number])
    recall = recall[np.isfinite(recall)]
    difference = paired_difference(right, reference)
    seconds = one["search_seconds"][number]
    speeds = len(right) / np.array([np.median(seconds), seconds.max(), seconds.min()])
    values = (
        name,
        float(recall.mean()),
        *mean_interval(recall),
        len(recall),
        float(right.mean()),
        *wilson_interval(int(right.sum()), len(right)),
        len(right),
        *(("", "", "", "") if one is exact else (*difference, verdict(*difference[1:]))),
        float(one["bytes_per_vector"]),
        float(one["train_seconds"]),
        float(one["add_seconds"]),
        *map(float, speeds),
    )
    return {
        **params["facts"],
        **Cell.of(system, queries)._asdict(),
        **dict(zip(COLUMNS[len(AXES) :], values, strict=True)),
    }


def verdict(low: float, high: float) -> str:
    """Whether a difference of accuracies matters, of its interval: no where it is within MARGIN on both sides."""
    if low > -MARGIN and high < MARGIN:
        return NO
    return YES if high < 0 or low > 0 else OPEN


# -- in words


def images_text(row: Row, params: Params) -> str:
    """Clean, or PGD, gray box."""
    if row["setting"] == "clean":
        return "Clean"
    return f"{attack_name(row['attack'], params)}, {setting_name(row['setting']).lower()}"


def sentences(rows: Rows, params: Params) -> list[str]:
    """A sentence for each index but the exact one: what it misses, and whether that matters."""
    return [_sentence(matching(rows, index=name), params) for name in distinct(rows, "index")[1:]]


def _sentence(rows: Rows, params: Params) -> str:
    """Of the rows of an index."""
    recall = _each(rows, lambda row: f"{row['recall']:.3f}", params)
    changes = _each(rows, difference_text, params)
    verdicts = [row["matters"] for row in rows]
    if YES in verdicts:
        words = "what it misses matters"
    elif OPEN in verdicts:
        words = f"whether what it misses matters, {rows[0]['n']:,} images do not tell"
    elif all(row["recall"] == 1 for row in rows):
        words = "it misses nothing"
    else:
        words = f"what it misses does not matter, less than {MARGIN:g} of accuracy"
    return f"{rows[0]['index']}: {words}. Recall {recall}; accuracy {changes}."


def _each(rows: Rows, text: Any, params: Params) -> str:
    return ", ".join(f"{text(row)} ({_lowered(images_text(row, params))})" for row in rows)


def _lowered(text: str) -> str:
    return text.lower() if text == "Clean" else text


def difference_text(row: Row) -> str:
    """A difference of accuracies and its interval, with a sign."""
    return f"{row['difference']:+.3f} [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"


def bytes_text(row: Row) -> str:
    """Bytes of a vector: 1,024."""
    return f"{row['bytes_per_vector']:,.0f}"
