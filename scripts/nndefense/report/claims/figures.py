"""Claims of the paper's text about Figures 3 to 12 (Dubey et al. 2019, §5.2, §6.2, App. D)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from math import log2
from typing import Any

from nndefense.report.aware import by_attack, by_attack_size, by_overlap, defense_rows
from nndefense.report.claims.effects import change, condition, drop, minus, one, slope_per_doubling, straightness
from nndefense.report.claims.judge import Claim, Comparison, Region
from nndefense.report.claims.tables import AT_LEAST, POSITIVE
from nndefense.report.names import Params, attack_name, thousands
from nndefense.report.select import (
    Row,
    Rows,
    by_layer,
    by_neighbors,
    by_size,
    distinct,
    layer_depth,
    matching,
    swept_pools,
)

SATURATED = Region(-0.01, 0.01, "between -0.01 and 0.01")
LOW_R2 = "R2 is lowered by the noise that resampling adds: its interval errs on the low side."
STRAIGHT = Region(low=0.9, text="> 0.9")
TARGETED_GAIN = Region(0.01, 0.04, "0.01 to 0.04")
SATURATION = (50, 100)

Compare = Callable[[list[Row], Params], list[Comparison]]


# -- Figures 3, 7, 8: the number of neighbours


def conditions(rows: Sequence[Row], *axes: str) -> list[list[Row]]:
    """Rows grouped by setting, budget and `axes`, in order of appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[axis] for axis in ("setting", "epsilon", *axes))
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def up_in_k(rows: list[Row], params: Params) -> list[Comparison]:
    """Rise over log2 K up to where the accuracy is said to saturate."""
    found = []
    for group in conditions(by_neighbors(rows, params), "size"):
        below = [row for row in group if row["neighbors"] <= SATURATION[0]]
        label = f"N = {thousands(group[0]['size'])}, {condition(group[0])}"
        found += change(label, below, [log2(row["neighbors"]) for row in below])
    return found


def saturates(rows: list[Row], params: Params) -> list[Comparison]:
    """K = 100 minus K = 50."""
    found = []
    for group in conditions(by_neighbors(rows, params), "size"):
        at_50, at_100 = (one(group, neighbors=k) for k in SATURATION)
        found += minus(f"N = {thousands(group[0]['size'])}, {condition(group[0])}", at_100, at_50)
    return found


def larger_minus_smaller(rows: list[Row], params: Params) -> list[Comparison]:
    """The larger minus the smaller database at every K and budget."""
    found = []
    for group in conditions(by_neighbors(rows, params), "neighbors"):
        if len(group) == 2:
            small, large = sorted(group, key=lambda row: row["size"])
            found += minus(f"K = {large['neighbors']}, {condition(large)}", large, small)
    return found


def down_in_budget(rows: list[Row], params: Params) -> list[Comparison]:
    """Fall over the budgets, clean images included, for every K and size."""
    ours = by_neighbors(rows, params)
    found = []
    for size in distinct(ours, "size"):
        for k in distinct(ours, "neighbors"):
            line = matching(ours, size=size, neighbors=k)
            found += change(f"N = {thousands(size)}, K = {k}", line, [row["epsilon"] for row in line], sign=-1)
    return found


# -- Figures 4, 11, 12: the layer


def layer_rows(rows: list[Row], params: Params) -> tuple[list[Row], list[tuple[str, str]]]:
    """Rows of Figure 4, and pairs of neighbouring layers (earlier, later)."""
    ours = by_layer(rows, params)
    return ours, list(pairwise(sorted(distinct(ours, "features"), key=layer_depth)))


def later_minus_earlier(rows: list[Row], params: Params) -> list[Comparison]:
    """The later minus the earlier layer, on clean images and at the smallest budget."""
    ours, pairs = layer_rows(rows, params)
    small = min((row["epsilon"] for row in ours if row["setting"] != "clean"), default=0)
    found = []
    for group in conditions([row for row in ours if row["epsilon"] <= small]):
        for earlier, later in pairs:
            label = f"{later} minus {earlier}, {condition(group[0])}"
            found += minus(label, one(group, features=later), one(group, features=earlier))
    return found


def drop_of_later_minus_earlier(rows: list[Row], params: Params) -> list[Comparison]:
    """Loss from clean images to the largest budget of the later layer minus that of the earlier one."""
    ours, pairs = layer_rows(rows, params)
    top = max((row["epsilon"] for row in ours), default=0)
    found = []
    for setting in [name for name in distinct(ours, "setting") if name != "clean"]:
        for earlier, later in pairs:
            ends = [
                [one(ours, features=layer, setting="clean"), one(ours, features=layer, setting=setting, epsilon=top)]
                for layer in (later, earlier)
            ]
            label = f"{later} minus {earlier}, clean to {condition({'setting': setting, 'epsilon': top})}"
            found += drop(label, ends[0], ends[1])
    return found


# -- Figures 5, 9, 10: the size of the database


def along_sizes(effect: Callable[..., list[Comparison]], rows: list[Row], params: Params) -> list[Comparison]:
    """An effect of the line over log2 N, for every pool, setting and budget."""
    found = []
    for group in conditions(by_size(rows, params), "pool"):
        found += effect(f"{group[0]['pool']}, {condition(group[0])}", group)
    return found


def targeted_minus_all(rows: list[Row], params: Params) -> list[Comparison]:
    """The targeted minus the random pool at every common size: the last two pools of several sizes."""
    ours = by_size(rows, params)
    pools = swept_pools(ours)
    found = []
    for row in matching(ours, pool=pools[-1]) if len(pools) > 1 else []:
        other = one(ours, pool=pools[-2], size=row["size"], setting=row["setting"], epsilon=row["epsilon"])
        label = f"{pools[-1]} minus {pools[-2]}, N = {thousands(row['size'])}, {condition(row)}"
        found += minus(label, row, other)
    return found


# -- Figure 6: attacks that know of the defence


def strongest_forms(curves: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Curves by attack, of PGD-PR the form that breaks most over all budgets."""
    forms = {attack: line for attack, line in curves.items() if attack.startswith("pgd_pr")}
    if not forms:
        return dict(curves)
    strongest = min(forms, key=lambda attack: sum(row["accuracy"] for row in forms[attack]) / len(forms[attack]))
    return {attack: line for attack, line in curves.items() if attack == strongest or attack not in forms}


def plain_minus_aware(rows: list[Row], params: Params) -> list[Comparison]:
    """PGD minus each defence-aware attack that has the defence database."""
    ours = defense_rows(rows, params)
    curves = by_attack(ours, params) if ours else {}
    plain = curves.pop(params["attack"], [])
    found = []
    for attack, line in strongest_forms(curves).items():
        for row in line:
            names = [attack_name(one, params) for one in (params["attack"], attack)]
            label = f"{' minus '.join(names)}, Δ = {row['epsilon']:g}"
            found += minus(label, one(plain, epsilon=row["epsilon"]), row)
    return found


def down_along(
    lines: Callable[[Rows, Params], list[Row]],
    place: Callable[[Mapping[str, Any]], float],
    rows: list[Row],
    params: Params,
) -> list[Comparison]:
    """Fall of the accuracy under each ablated attack along an axis of the attack database, for every budget."""
    ours = defense_rows(rows, params)
    ours = lines(ours, params) if ours else []
    found = []
    for attack, epsilon in dict.fromkeys((row["attack"], row["epsilon"]) for row in ours):
        line = matching(ours, attack=attack, epsilon=epsilon)
        label = f"{attack_name(attack, params)}, Δ = {epsilon:g}"
        found += change(label, line, [place(row) for row in line], sign=-1)
    return found


def _with_attack(compare: Compare, attack: str | None) -> Compare:
    if attack is None:
        return compare
    return lambda rows, params: compare(rows, {**params, "attack": attack})


def _trends(attack: str | None, name: str, by_k: int, by_layer: int, by_n: int) -> list[Claim]:
    """The claims of three figures for one attack, by name as in the paper; None is the base attack."""
    under = "" if attack is None else f" (as for PGD, under {name})"
    section = "§5.2" if attack is None else "App. D"
    table = (
        (by_k, "acc_up_in_K", "More neighbours K help, up to 50.", "fitted change from the smallest K to 50",
         POSITIVE, up_in_k),
        (by_k, "saturates_at_50", "The accuracy saturates at K = 50.", "K = 100 minus K = 50", SATURATED, saturates),
        (by_k, "larger_ge_smaller", "The larger database is consistently the better one.",
         "larger minus smaller database", AT_LEAST, larger_minus_smaller),
        (by_k, "acc_down_in_eps", "Accuracy falls with the budget.", "fitted fall from clean images to the largest Δ",
         POSITIVE, down_in_budget),
        (by_layer, "later_higher_at_small_eps", "Later layers give the higher accuracy at small budgets.",
         "later minus earlier layer, clean and smallest Δ", POSITIVE, later_minus_earlier),
        (by_layer, "earlier_smaller_drop", "Earlier layers deteriorate less.",
         "loss of the later layer minus loss of the earlier one, clean to largest Δ", POSITIVE,
         drop_of_later_minus_earlier),
        (by_n, "slope_gt_0", "Accuracy rises by a fixed amount with every doubling of the database.",
         "fitted change per doubling of N", POSITIVE, partial(along_sizes, slope_per_doubling)),
        (by_n, "log_linear", "The relation of accuracy and log N is linear.", "R2 of the line over log2 N", STRAIGHT,
         partial(along_sizes, straightness)),
        (by_n, "targeted_minus_all", "A database chosen for the task is 1 to 4 points better than a random one.",
         "targeted minus random pool at equal N", TARGETED_GAIN, targeted_minus_all),
    )  # fmt: skip
    return [
        Claim(f"F{figure}.{name}", f"Figure {figure}, {section}", f"{text.removesuffix('.')}{under}.", compared,
              region, _with_attack(compare, attack), LOW_R2 if region is STRAIGHT else "")
        for figure, name, text, compared, region, compare in table
    ]  # fmt: skip


FIGURE_CLAIMS = (
    *_trends(None, "PGD", 3, 4, 5),
    Claim(
        "F6a.aware_lt_pgd",
        "Figure 6(a), §6.2",
        "Attacks that know the defence and its database break it further than PGD does.",
        "accuracy under PGD minus that under PGD-PR or PGD-FS",
        POSITIVE,
        plain_minus_aware,
    ),
    Claim(
        "F6b.acc_down_in_size",
        "Figure 6(b), §6.2",
        "The larger the attacker's database, the lower the accuracy.",
        "fitted fall over log2 of the attack database's size",
        POSITIVE,
        partial(down_along, by_attack_size, lambda row: log2(row["attack_size"])),
    ),
    Claim(
        "F6c.acc_down_in_overlap",
        "Figure 6(c), §6.2",
        "The more the attack and defence databases overlap, the lower the accuracy.",
        "fitted fall from the smallest to the largest overlap",
        POSITIVE,
        partial(down_along, by_overlap, lambda row: row["overlap"]),
    ),
    *_trends("fgsm", "FGSM", 7, 11, 9),
    *_trends("cw", "CW-L2", 8, 12, 10),
)
