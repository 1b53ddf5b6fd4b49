"""Claims about purification by semantic reconstruction dictionaries (SRD; Silva et al. 2021, 2022), of their abstract.

`params["dictionaries"]` names the defences that are compared: `reference`, the one whose images are shown; `purifiers`,
others before the same network; `behind`, pairs of dictionaries before another network and that network alone;
`choices`, defences that differ from the reference in what chooses the dictionary alone; `robust`, pairs of dictionaries
that a robust network chooses and of those that the clusters' own network chooses.
"""

from collections.abc import Sequence

import numpy as np

from nndefense.axes.cells import NO_DEFENSE, Cell
from nndefense.axes.queries import WORST
from nndefense.axes.threat import ADAPTIVE
from nndefense.report.claims.effects import minus, one
from nndefense.report.claims.judge import Claim, Comparison, Region
from nndefense.report.claims.outcomes import Outcomes, cells_of
from nndefense.report.claims.tables import POSITIVE
from nndefense.report.names import Params, attack_name, defense_name
from nndefense.report.select import Row, Rows, distinct, matching

WHERE = "SRD, abstract (Silva et al. 2021, 2022)"
LEAD, MARGIN, GAP = 0.10, 0.01, 0.05
IMAGES = ("attack", "setting", "epsilon")
GRAY = "gray_box"
WHOLE, RANDOM, ORACLE = "whole", "random", "oracle"


def shown_in(rows: Rows, params: Params) -> list[Row]:
    """Rows on clean images and within the base ball; none where the run has no dictionaries."""
    wanted = ("none", params.get("space"))
    return [row for row in rows if row["space"] in wanted] if params.get("dictionaries") else []


def under_base(rows: Rows, params: Params) -> list[Row]:
    """Rows on clean images, and those under the base attack in the gray box, at every budget."""
    return [*matching(rows, setting="clean"), *matching(rows, setting=GRAY, attack=params["attack"])]


def named(defense: str, params: Params) -> str:
    """The defence's label; in the middle of a label, without a defence is no name."""
    return "no defence" if defense == NO_DEFENSE else defense_name(defense, params)


def pair(rows: Rows, first: str, second: str, params: Params, what: str = "gray box") -> list[Comparison]:
    """One defence minus another on every set of images that `rows` hold of both; attacked ones are `what` together."""
    found, names = [], f"{named(first, params)} minus {named(second, params)}"
    for row in matching(rows, defense=first):
        other = one(rows, defense=second, **{axis: row[axis] for axis in IMAGES})
        clean = row["setting"] == "clean"
        label = "no attack" if clean else f"Δ = {row['epsilon']:g}"
        found += minus(label, row, other, f"{names}; {'clean' if clean else what}")
    return found


def better_than_others(rows: list[Row], params: Params) -> list[Comparison]:
    """The reference minus the best other purifier under the base attack at the base budget, gray box."""
    ours = shown_in(rows, params)
    at_base = {"attack": params.get("attack"), "epsilon": params.get("epsilon"), "setting": GRAY}
    section = params["dictionaries"] if ours else {"purifiers": ()}
    others = [row for name in section["purifiers"] for row in matching(ours, defense=name, **at_base)]
    reference = one(ours, defense=section["reference"], **at_base) if others else None
    if reference is None:
        return []
    names = ", ".join(named(row["defense"], params) for row in others)
    label = f"{named(reference['defense'], params)} minus the best of {names}"
    return [Comparison(label, cells_of([reference, *others]), lambda a: a[..., 0] - a[..., 1:].max(axis=-1))]


def model_agnostic(rows: list[Row], params: Params) -> list[Comparison]:
    """Another network behind dictionaries minus that network alone, each on images attacked through the network."""
    ours, found = shown_in(rows, params), []
    for purified, alone in params["dictionaries"]["behind"] if ours else ():
        at_base = {"attack": params["attack"], "epsilon": params["epsilon"]}
        first, second = (one(ours, defense=name, setting=f"{GRAY}-{name}", **at_base) for name in (purified, alone))
        found += minus(f"{named(purified, params)} minus {named(alone, params)}", first, second)
    return found


def unseen_attacks(rows: list[Row], params: Params) -> list[Comparison]:
    """The reference minus no defence in the gray box under every attack but the base one, at every budget."""
    ours, found = matching(shown_in(rows, params), setting=GRAY), []
    for attack in distinct(ours, "attack"):
        if attack != params["attack"]:
            own, reference = matching(ours, attack=attack), params["dictionaries"]["reference"]
            found += pair(own, reference, NO_DEFENSE, params, attack_name(attack, params))
    return found


def _choices(rows: Rows, params: Params, *choices: str) -> list[tuple[str, str]]:
    """The reference with each defence of these choices; nothing without rows."""
    section = params["dictionaries"] if rows else {"choices": {}}
    return [(section["reference"], name) for choice in choices for name in section["choices"].get(choice, ())]


def semantic_choice(rows: list[Row], params: Params) -> list[Comparison]:
    """The reference minus one dictionary for all, and minus a random one; clean and under the base attack."""
    ours = shown_in(rows, params)
    pairs = _choices(ours, params, WHOLE, RANDOM)
    return [effect for names in pairs for effect in pair(under_base(ours, params), *names, params)]


def oracle_choice(rows: list[Row], params: Params) -> list[Comparison]:
    """The dictionary of the true cluster minus the reference; clean and under the base attack."""
    ours = shown_in(rows, params)
    pairs = [(known, reference) for reference, known in _choices(ours, params, ORACLE)]
    return [effect for names in pairs for effect in pair(under_base(ours, params), *names, params)]


def robust_choice(rows: list[Row], params: Params) -> list[Comparison]:
    """Dictionaries chosen by a robust network's latents minus by the clean one's; clean and under the base attack."""
    ours = shown_in(rows, params)
    pairs: Sequence[Sequence[str]] = params["dictionaries"]["robust"] if ours else ()
    return [effect for first, second in pairs for effect in pair(under_base(ours, params), first, second, params)]


def with_hardest(outcomes: Outcomes) -> dict[Cell, np.ndarray]:
    """Outcomes, and those under all attacks through a defence together, for every budget.

    An image is right under all of them where it is right under every single one. The attack of such a cell is `worst`.
    """
    hardest: dict[Cell, np.ndarray] = {}
    for cell, right in outcomes.items():
        if cell.setting == f"{ADAPTIVE}-{cell.defense}" and cell.attack != WORST:
            together = cell._replace(attack=WORST)
            hardest[together] = right & hardest.get(together, True)
    return {**outcomes, **hardest}


def not_masking(rows: list[Row], params: Params) -> list[Comparison]:
    """The reference in the gray box minus under all attacks through it, at every budget; rows of `with_hardest`."""
    ours, found = shown_in(rows, params), []
    for name in [params["dictionaries"]["reference"]] if ours else ():
        for row in matching(ours, defense=name, setting=f"{ADAPTIVE}-{name}", attack=WORST):
            gray = one(ours, defense=name, setting=GRAY, attack=params["attack"], epsilon=row["epsilon"])
            found += minus(f"{named(name, params)}, Δ = {row['epsilon']:g}", gray, row)
    return found


DICTIONARY_CLAIMS = (
    Claim(
        "S1.better_than_others",
        WHERE,
        "Purification by semantic dictionaries is more than 10 % better than the state of the art.",
        "accuracy with SRD minus that of the best other purifier before the same network, gray box",
        Region(low=LEAD, text=f"> {LEAD:g}"),
        better_than_others,
        "`S1.better_than_others`: 10 % is read as 10 points, the state of the art as the other purifiers of this run.",
    ),
    Claim(
        "S2.model_agnostic",
        WHERE,
        "The defence is model agnostic: it also protects a network that it was not made with.",
        "accuracy of another network behind SRD minus that of this network alone, both attacked through this network",
        POSITIVE,
        model_agnostic,
    ),
    Claim(
        "S3.unseen_attacks",
        WHERE,
        "The defence generalises to attacks that it has not seen.",
        "accuracy with SRD minus that without a defence, gray box, attacks other than the base one",
        POSITIVE,
        unseen_attacks,
    ),
    Claim(
        "S4.semantic_choice",
        WHERE,
        "The dictionary of the semantic cluster that is nearest to an image is the most adequate one.",
        "accuracy with the nearest cluster's dictionary minus with the one of all images, or with a random cluster's",
        POSITIVE,
        semantic_choice,
    ),
    Claim(
        "S4.oracle",
        WHERE,
        "The choice of the cluster is as good as knowing it.",
        "accuracy with the dictionary of the true class's cluster minus with the chosen one",
        Region(high=MARGIN, text=f"< {MARGIN:g} (as good, within {100 * MARGIN:g} point)"),
        oracle_choice,
        "`S4.oracle`: what the abstract presumes; the true class is not to be had, so this is what the choice could "
        "gain at most.",
    ),
    Claim(
        "S5.robust_choice",
        WHERE,
        "Latents of a robust network choose better than those of the clean one.",
        "accuracy with the dictionary that a robust network chooses minus with that of the clusters' own network",
        POSITIVE,
        robust_choice,
        "`S5.robust_choice`: a network that is given as `chooser` is taken for the robust one.",
    ),
)
MASKING_CLAIMS = (
    Claim(
        "S6.not_masking",
        "SRD, attacks through the defence (ours)",
        "An attacker who knows the defence gains nothing.",
        "accuracy under the base attack in the gray box minus under all attacks through SRD, on the same images",
        Region(-GAP, GAP, f"between -{GAP:g} and {GAP:g}"),
        not_masking,
        "`S6.not_masking`: the abstract speaks of no such attacker. Where it is contradicted, the accuracy in the gray "
        "box is that of a masked gradient, and no measure of robustness.",
    ),
)
