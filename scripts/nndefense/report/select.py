"""Choosing accuracy rows for a table or a figure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nndefense.errors import InputError
from nndefense.features.names import is_rmac

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
    """Clean rows, and those of the given attack in the gray-box and black-box settings."""
    attacked = [row for row in matching(rows, **attack) if not row["setting"].startswith("white_box")]
    return [*matching(rows, setting="clean"), *attacked]


def largest(rows: Iterable[Row]) -> list[Row]:
    """Rows of every pool's largest size."""
    rows = list(rows)
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["pool"]] = max(sizes.get(row["pool"], 0), row["size"])
    return [row for row in rows if row["size"] == sizes[row["pool"]]]


def at_base_attack(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Clean rows, and those of the base attack at the base budget."""
    return with_clean(rows, attack=base["attack"], epsilon=base["epsilon"], space=base["space"])


def table_databases(rows: Sequence[Row], base: Mapping[str, Any], *axes: str) -> list[Row]:
    """Databases of Tables 1, 2 and 4: every pool at its largest size, by the base features and by R-MAC ones.

    `axes` are held at their base values, as is K.
    """
    ours = at_base_attack(defended(rows, base, "neighbors", *axes), base)
    plain = largest(matching(ours, features=base["features"]))
    return [*plain, *largest(row for row in ours if is_rmac(row["features"]))]


def swept_pools(rows: Sequence[Row]) -> list[str]:
    """Pools of more than one size, in their order; by convention the last is Targeted, the one before it All."""
    sizes: dict[str, set[int]] = {}
    for row in rows:
        if row["defense"] == "knn":
            sizes.setdefault(row["pool"], set()).add(row["size"])
    return [pool for pool, found in sizes.items() if len(found) > 1]


def main_pool(rows: Sequence[Row]) -> str:
    """The pool of Figures 3, 4 and 6: the last one of several sizes, else the last. InputError without any."""
    pools = swept_pools(rows) or distinct(matching(rows, defense="knn"), "pool")
    if not pools:
        raise InputError("accuracy rows: none is of the nearest-neighbour defence at the base values")
    return pools[-1]


def layer_depth(features: str) -> tuple[int, ...]:
    """Sorts layers from the input to the output: conv_4_6 -> (4, 6)."""
    return tuple(int(number) for number in re.findall(r"\d+", features))
