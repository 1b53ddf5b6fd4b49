"""Claims of Zhao, Li & Cho 2018, §4, about their Table 1: clean accuracy, robustness, number of retrieved images."""

from collections.abc import Sequence

from nndefense.axes.cells import NO_DEFENSE
from nndefense.report.claims.effects import minus, one
from nndefense.report.claims.judge import Claim, Comparison, Region
from nndefense.report.linf import PARTS, TRANSFER, WHITE_BOX, in_part, select_linf
from nndefense.report.names import Params, attack_name
from nndefense.report.select import Row, Rows, distinct, matching

WHERE = "Table 1, §4 (Zhao, Li & Cho 2018)"
SMALL, LARGE = 0.01, 0.04
POSITIVE = Region(low=0, text="> 0")
IMAGES = ("attack", "epsilon")


def compared(rows: Rows, params: Params) -> list[Row]:
    """Rows of the comparison, the baseline's first; none where the run has no comparison."""
    if not params.get("linf") or not matching(rows, defense=NO_DEFENSE):
        return []
    return select_linf(rows, params)


def name_of(defense: str, params: Params) -> str:
    """The baseline's network, or the defence as the configuration names it."""
    return params["linf"]["baseline"] if defense == NO_DEFENSE else defense


def pairs(
    rows: Rows, networks: Sequence[tuple[str, str]], params: Params, *, clean: bool, attacked: bool
) -> list[Comparison]:
    """The first network of every pair minus the second, on every set of images that `rows` hold of both."""
    parts = [("Clean", "Clean", matching(rows, setting="clean"))] if clean else []
    parts += [(title, f"{title} ", in_part(rows, part)) for part, title in PARTS.items()] if attacked else []
    found = []
    for first, second in networks:
        for group, words, part in parts:
            for row in matching(part, defense=first):
                other = one(part, defense=second, **{axis: row[axis] for axis in IMAGES})
                images = words if words == group else f"{words}{_budget(row, params)}"
                label = f"{name_of(first, params)} minus {name_of(second, params)}, {images}"
                found += minus(label, row, other, group if attacked else "")
    return found


def _budget(row: Row, params: Params) -> str:
    return f"{attack_name(row['attack'], params)} ε = {row['epsilon']:g}"


def others(rows: Rows) -> list[str]:
    """All networks but the baseline: the retrieval-augmented ones, or whatever else is compared."""
    return [name for name in distinct(rows, "defense") if name != NO_DEFENSE]


def clean_loss(rows: list[Row], params: Params) -> list[Comparison]:
    """The baseline minus every other network on clean images."""
    ours = compared(rows, params)
    return pairs(ours, [(NO_DEFENSE, name) for name in others(ours)], params, clean=True, attacked=False)


def robustness(rows: list[Row], params: Params) -> list[Comparison]:
    """Every other network minus the baseline under every attack and budget."""
    ours = compared(rows, params)
    return pairs(ours, [(name, NO_DEFENSE) for name in others(ours)], params, clean=False, attacked=True)


def most_and_fewest(rows: Rows) -> list[tuple[str, str]]:
    """Networks that retrieve the most images with those that retrieve the fewest, in their order.

    Nothing if all retrieve as many.
    """
    counts = sorted({row["neighbors"] for row in rows if row["neighbors"]})
    if len(counts) < 2:
        return []
    most, fewest = (distinct(matching(rows, neighbors=count), "defense") for count in (counts[-1], counts[0]))
    return list(zip(most, fewest, strict=False))


def more_is_better(rows: list[Row], params: Params) -> list[Comparison]:
    """Most minus fewest retrieved images, clean and at the smallest budgets."""
    ours = [row for row in compared(rows, params) if row["epsilon"] <= SMALL]
    return pairs(ours, most_and_fewest(ours), params, clean=True, attacked=True)


def fewer_is_better(rows: list[Row], params: Params) -> list[Comparison]:
    """Fewest minus most retrieved images at large budgets."""
    ours = [row for row in compared(rows, params) if row["epsilon"] >= LARGE]
    networks = [(fewest, most) for most, fewest in most_and_fewest(ours)]
    return pairs(ours, networks, params, clean=False, attacked=True)


def masking(rows: list[Row], params: Params) -> list[Comparison]:
    """Accuracy on a network's own adversarial images minus that on the baseline's, of every other network."""
    ours = compared(rows, params)
    own, transferred = (in_part(ours, part) for part in (WHITE_BOX, TRANSFER))
    found = []
    for row in own:
        if row["defense"] != NO_DEFENSE:
            other = one(transferred, defense=row["defense"], **{axis: row[axis] for axis in IMAGES})
            found += minus(f"{row['defense']}, {_budget(row, params)}", row, other)
    return found


RACNN_CLAIMS = (
    Claim(
        "R1.baseline_best_clean",
        WHERE,
        "On clean images the baseline outperforms the retrieval-augmented networks.",
        "clean accuracy of the baseline minus that of each other network",
        POSITIVE,
        clean_loss,
    ),
    Claim(
        "R1.retrieval_more_robust",
        WHERE,
        "Retrieval-augmented networks are more robust than the baseline under both attacks at every budget.",
        "accuracy of each other network minus that of the baseline, under attack",
        POSITIVE,
        robustness,
        "`R1.retrieval_more_robust`: the paper speaks of a white-box setting. Transferred images were made against the "
        "baseline and are its worst case only, so there the claim says less.",
    ),
    Claim(
        "R1.more_neighbors_clean_and_small",
        WHERE,
        "More retrieved images lose less accuracy on clean images, and on attacked ones at the smallest budget.",
        f"accuracy with the most minus that with the fewest retrieved images, clean and at ε ≤ {SMALL:g}",
        POSITIVE,
        more_is_better,
    ),
    Claim(
        "R1.fewer_neighbors_large",
        WHERE,
        "At large budgets fewer retrieved images are more robust.",
        f"accuracy with the fewest minus that with the most retrieved images at ε ≥ {LARGE:g}",
        POSITIVE,
        fewer_is_better,
        "`R1.fewer_neighbors_large`: the paper's table shows this, its text does not say it.",
    ),
    Claim(
        "R1.own_gradient_less_useful",
        "§1 (Zhao, Li & Cho 2018)",
        "A retrieval engine that cannot be differentiated makes the network's gradient less useful to an attacker.",
        "accuracy under the network's own attack (white box) minus under the baseline's (transfer)",
        POSITIVE,
        masking,
        "`R1.own_gradient_less_useful` is a conjecture of the paper. Where it is supported, the baseline's images are "
        "the stronger attack: the network's gradient is masked, and its white-box accuracy overstates its robustness.",
    ),
)
