"""Choosing accuracy rows for a table or a figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nndefense.errors import InputError

Row = Mapping[str, Any]


def matching(rows: Iterable[Row], **values: Any) -> list[Row]:
    """Rows whose columns equal the given values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def only(rows: Iterable[Row], **values: Any) -> Row:
    """The one row whose columns equal the given values; InputError if there is none, or more than one."""
    found = matching(rows, **values)
    if len(found) != 1:
        raise InputError(f"accuracy rows: {len(found)} rows have {values}, expected one")
    return found[0]


def distinct(rows: Iterable[Row], column: str) -> list[Any]:
    """Values of a column in order of first appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def defended(rows: Iterable[Row], base: Mapping[str, Any], *axes: str) -> list[Row]:
    """Rows of the nearest-neighbour defence at the base values of `axes`."""
    return matching(rows, defense="knn", **{axis: base[axis] for axis in axes})


def with_clean(rows: Sequence[Row], **attack: Any) -> list[Row]:
    """Clean rows, and those of the given attack."""
    return [*matching(rows, setting="clean"), *matching(rows, **attack)]
