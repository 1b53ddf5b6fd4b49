"""Choosing accuracy rows for tables, figures and claims; `params` hold the base values that a piece uses."""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Any

from nndefense.axes.ball import LINF
from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.axes.queries import WORST
from nndefense.core.errors import InputError
from nndefense.features.names import is_rmac
from nndefense.report.names import BOTH, Params

Row = Mapping[str, Any]
Rows = Sequence[Row]
RATIO = 10  # 1B and 100M images in the paper's Figure 3


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


def defended(rows: Iterable[Row], params: Params, *axes: str) -> list[Row]:
    """Rows of the nearest-neighbour defence at the base values of `axes`."""
    return matching(rows, defense=NEIGHBORS, **{axis: params[axis] for axis in axes})


def with_clean(rows: Rows, **attack: Any) -> list[Row]:
    """Clean rows, those of the given attack in the gray-box and black-box settings, and worst cases of all attacks."""
    attacked = [row for row in matching(rows, **attack) if not row["setting"].startswith("white_box")]
    worst = matching(rows, **{**attack, "attack": WORST, "setting": WORST})
    return [*matching(rows, setting="clean"), *attacked, *worst]


def under_attack(rows: Rows, params: Params, settings: Iterable[str]) -> list[Row]:
    """Clean rows, and those of the base attack at every budget in these settings."""
    wanted = {"clean", *settings}
    found = with_clean(rows, attack=params["attack"], space=params["space"])
    return [row for row in found if row["setting"] in wanted]


def largest(rows: Iterable[Row]) -> list[Row]:
    """Rows of every pool's largest size."""
    rows = list(rows)
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["pool"]] = max(sizes.get(row["pool"], 0), row["size"])
    return [row for row in rows if row["size"] == sizes[row["pool"]]]


def two_sizes(rows: Rows) -> list[int]:
    """The largest size and the one nearest to a tenth of it; only the largest where there is no other."""
    first, *others = sorted(distinct(rows, "size"), reverse=True)
    return [first, *sorted(others, key=lambda size: abs(log(first / size / RATIO)))[:1]]


def at_base_attack(rows: Rows, params: Params) -> list[Row]:
    """Clean rows, and those of the base attack at the base budget."""
    return with_clean(rows, attack=params["attack"], epsilon=params["epsilon"], space=params["space"])


def table_databases(rows: Rows, params: Params, *axes: str) -> list[Row]:
    """Databases of Tables 1, 2 and 4: every pool at its largest size, by the base features and by R-MAC ones.

    `axes` are held at their base values, as is K.
    """
    ours = at_base_attack(defended(rows, params, "neighbors", *axes), params)
    plain = largest(matching(ours, features=params["features"]))
    bits = (row for row in ours if is_rmac(row["features"]) and row["features"] != params["features"])
    return [*plain, *largest(bits)]


def other_defenses(rows: Rows) -> list[Row]:
    """Rows of defences other than nearest neighbours, within normalised l2 balls."""
    return [row for row in rows if row["defense"] not in (NO_DEFENSE, NEIGHBORS) and row["space"] != str(LINF)]


def settle(rows: Rows, params: Params) -> list[Row]:
    """Rows of one defence at the base values, on the axes where it has them, and at its largest size."""
    for axis in ("features", "neighbors", "weighting", "combination"):
        rows = matching(rows, **{axis: params[axis]}) or rows
    return largest(rows)


def swept_pools(rows: Rows) -> list[str]:
    """Pools of more than one size, in their order; by convention the last is Targeted, the one before it All."""
    sizes: dict[str, set[int]] = {}
    for row in matching(rows, defense=NEIGHBORS):
        sizes.setdefault(row["pool"], set()).add(row["size"])
    return [pool for pool, found in sizes.items() if len(found) > 1]


def layer_depth(features: str) -> tuple[int, ...]:
    """Sorts layers from the input to the output: conv_4_6 -> (4, 6)."""
    return tuple(int(number) for number in re.findall(r"\d+", features))


# -- what Figures 3 to 5 show, without the undefended model; claims on them are judged on the same cells


def by_neighbors(rows: Rows, params: Params) -> list[Row]:
    """All K in two databases of the base pool, black box; nothing without an attacked row."""
    ours = under_attack(defended(rows, params, "pool", "features", "weighting", "combination"), params, ["black_box"])
    sizes = two_sizes(ours) if matching(ours, setting="black_box") else []
    return [row for row in ours if row["size"] in sizes]


def by_layer(rows: Rows, params: Params) -> list[Row]:
    """All layers in the largest database of the base pool; nothing without an attacked row."""
    ours = defended(rows, params, "pool", "neighbors", "weighting", "combination")
    ours = largest(row for row in under_attack(ours, params, BOTH) if not is_rmac(row["features"]))
    return ours if _attacked(ours) else []


def by_size(rows: Rows, params: Params) -> list[Row]:
    """Every size of the pools that have several; nothing without an attacked row."""
    ours = under_attack(defended(rows, params, "features", "neighbors", "weighting", "combination"), params, BOTH)
    pools = swept_pools(ours)
    return [row for row in ours if row["pool"] in pools] if _attacked(ours) else []


def _attacked(rows: Rows) -> bool:
    return any(row["setting"] != "clean" for row in rows)
