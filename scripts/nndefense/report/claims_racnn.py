"""Claims of Zhao, Li & Cho 2018, §4, about their Table 1: clean accuracy, robustness, number of retrieved images."""

from collections.abc import Mapping, Sequence
from typing import Any

from nndefense.report.effects import minus, one
from nndefense.report.judge import Claim, Comparison, Region
from nndefense.report.linf import SETTINGS
from nndefense.report.names import attack_name
from nndefense.report.select import Row, distinct, matching

WHERE = "Table 1, §4 (Zhao, Li & Cho 2018)"
SMALL, LARGE = 0.01, 0.04
POSITIVE = Region(low=0, text="> 0")

Base = Mapping[str, Any]


def condition(row: Row) -> str:
    """Clean, or White box FGSM ε = 0.01."""
    if row["setting"] == "clean":
        return "Clean"
    return f"{SETTINGS[row['setting']]} {attack_name(row['attack'])} ε = {row['epsilon']:g}"


def pairs(rows: Sequence[Row], models: Sequence[tuple[str, str]], *, by_setting: bool = True) -> list[Comparison]:
    """The first network of every pair minus the second, on every set of images that `rows` hold of both."""
    found = []
    for first, second in models:
        for row in matching(rows, model=first):
            other = one(rows, model=second, **{axis: row[axis] for axis in ("setting", "attack", "epsilon")})
            group = SETTINGS.get(row["setting"], "Clean") if by_setting else ""
            found += minus(f"{first} minus {second}, {condition(row)}", row, other, group)
    return found


def others(rows: Sequence[Row], base: Base) -> list[str]:
    """All networks but the baseline: the retrieval-augmented ones, or whatever else is compared."""
    return [model for model in distinct(rows, "model") if model != base["baseline"]]


def clean_loss(rows: list[Row], base: Base) -> list[Comparison]:
    """The baseline minus every other network on clean images."""
    models = [(base["baseline"], model) for model in others(rows, base)]
    return pairs(matching(rows, setting="clean"), models, by_setting=False)


def robustness(rows: list[Row], base: Base) -> list[Comparison]:
    """Every other network minus the baseline under every attack and budget."""
    models = [(model, base["baseline"]) for model in others(rows, base)]
    return pairs([row for row in rows if row["setting"] != "clean"], models)


def most_and_fewest(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Networks that retrieve the most images with those that retrieve the fewest, in their order.

    Nothing if all retrieve as many.
    """
    counts = sorted({row["neighbors"] for row in rows if row["neighbors"]})
    if len(counts) < 2:
        return []
    most, fewest = (distinct(matching(rows, neighbors=count), "model") for count in (counts[-1], counts[0]))
    return list(zip(most, fewest, strict=False))


def more_is_better(rows: list[Row], base: Base) -> list[Comparison]:
    """Most minus fewest retrieved images, clean and at the smallest budgets."""
    return pairs([row for row in rows if row["epsilon"] <= SMALL], most_and_fewest(rows))


def fewer_is_better(rows: list[Row], base: Base) -> list[Comparison]:
    """Fewest minus most retrieved images at large budgets."""
    models = [(fewest, most) for most, fewest in most_and_fewest(rows)]
    return pairs([row for row in rows if row["epsilon"] >= LARGE], models)


def masking(rows: list[Row], base: Base) -> list[Comparison]:
    """Accuracy on a network's own adversarial images minus that on the baseline's, of every other network."""
    found = []
    for row in matching(rows, setting="white_box"):
        if row["model"] != base["baseline"]:
            axes = {axis: row[axis] for axis in ("model", "attack", "epsilon")}
            label = f"{row['model']}, {attack_name(row['attack'])} ε = {row['epsilon']:g}"
            found += minus(label, row, one(rows, setting="transfer", **axes))
    return found


CLAIMS = (
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
