"""Claims of the paper's text about Tables 1, 2 and 4 (Dubey et al. 2019, §4, §5.2, §5.3, App. C)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nndefense.report.claims.effects import condition, minus, one
from nndefense.report.claims.judge import Claim, Comparison, Region
from nndefense.report.claims.outcomes import cells_of
from nndefense.report.grid import row_name
from nndefense.report.names import Params, defense_name, thousands
from nndefense.report.select import (
    Row,
    at_base_attack,
    defended,
    distinct,
    matching,
    other_defenses,
    settle,
    swept_pools,
    table_databases,
)

MARGIN = 0.005
POSITIVE = Region(low=0, text="> 0")
AT_LEAST = Region(low=-MARGIN, text=f"> -{MARGIN} (at least as good, within {100 * MARGIN:g} points)")

WEIGHTINGS = ("CBW-D", "CBW-E", "UW")
DATABASE = ("pool", "size", "features")
VOTE = ("setting", "weighting", "combination")


def values(row: Row, axes: Sequence[str]) -> dict[str, Any]:
    """The row's values of some columns."""
    return {axis: row[axis] for axis in axes}


def by_weighting(rows: list[Row], params: Params) -> list[Comparison]:
    """CBW-D minus CBW-E, and CBW-E minus UW, in every database and setting of Table 1."""
    ours = table_databases(rows, params, "combination")
    found = []
    for better, worse in pairwise(WEIGHTINGS):
        for row in matching(ours, weighting=better):
            other = one(ours, weighting=worse, **values(row, (*DATABASE, "setting")))
            found += minus(f"{row_name(row, params)}, {condition(row)}", row, other, f"{better} minus {worse}")
    return found


def by_database(rows: list[Row], params: Params) -> list[Comparison]:
    """Every larger database of Table 1 minus its smallest, and the largest minus the smallest size of a pool."""
    ours = matching(table_databases(rows, params, "weighting", "combination"), features=params["features"])
    small = min((row["size"] for row in ours), default=0)
    found = []
    for row in ours:
        for other in matching(ours, size=small, setting=row["setting"]):
            if row["size"] > small:
                label = f"{row_name(row, params)} minus {row_name(other, params)}, {condition(row)}"
                found += minus(label, row, other, "larger database minus the smallest")
    ladder = at_base_attack(defended(rows, params, "features", "neighbors", "weighting", "combination"), params)
    for pool in swept_pools(ladder):
        sizes = sorted(distinct(matching(ladder, pool=pool), "size"))
        for row in matching(ladder, pool=pool, size=sizes[-1]):
            smallest = one(ladder, pool=pool, size=sizes[0], setting=row["setting"])
            label = f"{pool}: {thousands(sizes[-1])} minus {thousands(sizes[0])}, {condition(row)}"
            found += minus(label, row, smallest, "same pool, largest minus smallest")
    return found


def black_minus_gray(rows: list[Row], params: Params) -> list[Comparison]:
    """Black box minus gray box, in every database and weighting of Table 1."""
    ours = table_databases(rows, params, "combination")
    found = []
    for row in matching(ours, setting="black_box"):
        other = one(ours, setting="gray_box", **values(row, (*DATABASE, "weighting")))
        found += minus(f"{row_name(row, params)}, {row['weighting']}", row, other)
    return found


def soft_minus_hard(rows: list[Row], params: Params) -> list[Comparison]:
    """Soft minus hard combination with CBW-D, in every database and setting of Table 4."""
    ours = matching(table_databases(rows, params), weighting="CBW-D")
    found = []
    for row in matching(ours, combination="soft"):
        other = one(ours, combination="hard", **values(row, (*DATABASE, "setting")))
        found += minus(f"{row_name(row, params)}, {condition(row)}", row, other)
    return found


def best_knn(rows: list[Row], params: Params, setting: str) -> Row | None:
    """The counterpart of IG-1B-Targeted: the base pool at its largest size, at the base values."""
    ours = matching(table_databases(rows, params, "weighting", "combination"), features=params["features"])
    return one(ours, pool=params["pool"], setting=setting)


def one_per_defense(rows: list[Row], params: Params, setting: str) -> list[Row]:
    """One row per other defence of Table 2, which holds no ablations."""
    others = matching(at_base_attack(other_defenses(rows), params), setting=setting)
    names = [name for name in distinct(others, "defense") if name not in params.get("ablations", ())]
    return [settle(matching(others, defense=name), params)[0] for name in names]


def knn_minus_best(rows: list[Row], params: Params) -> list[Comparison]:
    """The nearest-neighbour defence minus the best other defence, gray box.

    A network of its own counts by the lower of its accuracies under transfer and under its own gradients.
    """
    ours, others = best_knn(rows, params, "gray_box"), one_per_defense(rows, params, "gray_box")
    if ours is None or not others:
        return []
    cells, attackers = [ours], []
    for row in others:
        own = one_per_defense(rows, params, f"gray_box-{row['defense']}")
        readings = [row, *matching(own, defense=row["defense"])]
        attackers.append(slice(len(cells), len(cells) + len(readings)))
        cells += readings

    def lead(a: np.ndarray) -> np.ndarray:
        return a[..., 0] - np.max([a[..., place].min(axis=-1) for place in attackers], axis=0)

    names = ", ".join(defense_name(row["defense"], params) for row in others)
    return [Comparison(f"{row_name(ours, params)} minus the best of {names}", cells_of(cells), lead)]


def quilting_minus_knn(rows: list[Row], params: Params) -> list[Comparison]:
    """Every image quilting minus the nearest-neighbour defence, black box."""
    ours, found = best_knn(rows, params, "black_box"), []
    if ours is None:
        return []
    for row in one_per_defense(rows, params, "black_box"):
        if params.get("defense_kinds", {}).get(row["defense"], row["defense"]) == "image_quilting":
            label = f"{defense_name(row['defense'], params)} minus {row_name(ours, params)}"
            found += minus(label, row, ours)
    return found


def knn_minus_none(rows: list[Row], params: Params) -> list[Comparison]:
    """Every database of Table 2 minus no defence, gray and black box."""
    bare = at_base_attack(matching(rows, defense="none"), params)
    found = []
    for row in table_databases(rows, params, "weighting", "combination"):
        if row["setting"] != "clean":
            other = one(bare, setting=row["setting"])
            found += minus(f"{row_name(row, params)} minus no defence, {condition(row)}", row, other)
    return found


TABLE_CLAIMS = (
    Claim(
        "T1.cbwd_ge_cbwe_ge_uw",
        "Table 1, §5.2",
        "Weighing neighbours by CBW-D works best, CBW-E next, uniform weights least.",
        "accuracy of one weighting minus the next, at the base budget",
        AT_LEAST,
        by_weighting,
        "In the paper's own Table 1, IN-1.3M on clean images is an exception (UW 0.472, CBW-D 0.471).",
    ),
    Claim(
        "T1.bigger_db_better",
        "Table 1, §5.2",
        "Much larger databases give substantially more effective defences.",
        "accuracy with the larger database minus that with the smaller one",
        POSITIVE,
        by_database,
    ),
    Claim(
        "T1.black_gt_gray",
        "Table 1, §5.2",
        "The defence keeps more accuracy in the black-box than in the gray-box setting.",
        "black-box accuracy minus gray-box accuracy",
        POSITIVE,
        black_minus_gray,
    ),
    Claim(
        "T2.knn_gt_none",
        "Table 2, §5.3",
        "Under attack, the nearest-neighbour defence keeps accuracy that the undefended model loses.",
        "accuracy with the defence minus that without any",
        POSITIVE,
        knn_minus_none,
    ),
    Claim(
        "T2.knn_best_gray",
        "Table 2, §5.3",
        "In the gray-box setting the nearest-neighbour defence beats the other defences.",
        "accuracy with the targeted database minus that of the best other defence, gray box",
        POSITIVE,
        knn_minus_best,
    ),
    Claim(
        "T2.quilting_best_black",
        "Table 2, §5.3",
        "In the black-box setting image quilting does slightly better than the nearest-neighbour defence.",
        "accuracy of image quilting minus that with the targeted database, black box",
        POSITIVE,
        quilting_minus_knn,
    ),
    Claim(
        "T4.soft_ge_hard_at_cbwd",
        "Table 4, §4 (footnote), App. C",
        "With CBW-D, averaging probabilities (soft) is at least as good as voting by class (hard).",
        "soft minus hard accuracy with CBW-D",
        AT_LEAST,
        soft_minus_hard,
        "In the paper's own Table 4, IN-1.3M is an exception: hard is 0.001 to 0.007 better.",
    ),
)
