"""Made-up results of a whole experiment, with known trends: what tables, figures and claims are tested on."""

import itertools
from collections.abc import Callable, Iterator
from math import log2

import numpy as np

from nndefense.axes.cells import Cell, System
from nndefense.axes.queries import Pack, QuerySet
from nndefense.evaluation.rows import accuracy_row

BASE = {
    "attack": "pgd",
    "space": "raw01",
    "epsilon": 0.06,
    "features": "conv_4_1",
    "pool": "Targeted",
    "neighbors": 50,
    "weighting": "CBW-D",
    "combination": "soft",
}
# Parameters of every piece, as a configuration of these results gives them.
PARAMS = BASE | {
    "attack_labels": {"pgd": "PGD", "fgsm": "FGSM", "cw": "CW-L2", "pgd_pr": "PGD-PR", "pgd_fs": "PGD-FS",
                      "soft_retrieval": "Soft retrieval", "guide_samples": "Guide samples"},
    "attacks": ["pgd", "fgsm", "cw"],
    "defense_labels": {"none": "No defence", "knn": "Nearest neighbours", "image_quilting": "Image quilting",
                       "alp": "ALP"},
    "defense_kinds": {"none": "none", "knn": "knn", "image_quilting": "image_quilting", "alp": "logit_pairing"},
    "white_box": {"pool": "Targeted", "attacks": ["pgd_pr", "pgd_fs"], "ablated": ["pgd_fs", "soft_retrieval"],
                  "through": ["soft_retrieval", "guide_samples"]},
    "linf": None,
}  # fmt: skip
EPSILONS = ("0.02", "0.06")
LAYERS = ("conv_2_1", "conv_3_1", "conv_4_1", "conv_4_1-RMAC")
POOLS = {"Train": (2000,), "All": (500, 1000, 4000), "Targeted": (500, 1000, 4000)}
NEIGHBORS = (1, 10, 50, 100)
WEIGHTINGS = ("UW", "CBW-E", "CBW-D")
OTHERS = {"none": (0.8, 0.1, 0.2), "image_quilting": (0.41, 0.38, 0.66), "alp": (0.55, 0.28, 0.35)}
WHITE = "white_box-Targeted-"
N = 2000


def query_sets() -> list[QuerySet]:
    """Clean, three unaware attacks in two settings, and attacks that know of the defence, with several databases."""
    unaware = itertools.product(("gray_box", "black_box"), ("pgd", "fgsm", "cw"))
    aware = [(f"{WHITE}4000", "pgd_pr"), *((f"{WHITE}{size}", "pgd_fs") for size in (500, 1000, 4000))]
    aware += [(f"{WHITE}4000-overlap-{share}", "pgd_fs") for share in ("0", "0.5", "1")]
    aware += [("adaptive-knn", "soft_retrieval"), ("adaptive-knn", "guide_samples")]
    aware += [(f"adaptive-knn-Targeted-4000-overlap-{share}", "soft_retrieval") for share in ("0", "0.5")]
    names = ["clean", *(f"raw01/{s}/{a}/eps-{e}" for s, a in (*unaware, *aware) for e in EPSILONS)]
    return [queries for name in names for queries in Pack.parse(name)]


def cells() -> Iterator[Cell]:
    """Every cell: other defences, and nearest neighbours with K or the vote varied, not both."""
    for queries in query_sets():
        for defense in OTHERS if queries.attack in ("none", "pgd") else ("none",):
            yield Cell.of(System.plain(defense), queries)
        for pool, sizes in POOLS.items():
            for size, layer, k, weighting, combination in itertools.product(
                sizes, LAYERS, NEIGHBORS, WEIGHTINGS, ("soft", "hard")
            ):
                if k == 50 or (weighting, combination) == ("CBW-D", "soft"):
                    yield Cell.of(System(pool, size, layer, k, weighting, combination, "knn"), queries)


def expected(cell: Cell) -> float:
    """Accuracy with all of the paper's trends."""
    if cell.defense != "knn":
        clean, gray, black = OTHERS[cell.defense]
        return {"clean": clean, "black_box": black}.get(cell.setting, gray)
    depth = LAYERS.index(cell.features) if cell.features in LAYERS[:3] else 2
    value = 0.44 + 0.05 * depth + 0.02 * log2(cell.size / 500)
    value += 0.02 * (cell.pool != "All") + 0.02 * WEIGHTINGS.index(cell.weighting) + 0.02 * (cell.combination == "soft")
    value += 0.02 * log2(min(cell.neighbors, 50) / 50)
    value -= 0.01 * (cell.features == "conv_4_1-RMAC")
    loss = (1 + 0.4 * depth) * cell.epsilon
    if cell.setting.startswith("white_box"):
        _, _, size, *overlap = cell.setting.split("-")
        share = float(overlap[1]) if overlap else log2(int(size)) / 12
        return value - loss - 0.05 - 0.2 * share - 0.02 * (cell.attack == "pgd_fs")
    if cell.setting.startswith("adaptive"):
        _, _, overlap = cell.setting.partition("overlap-")
        return value - 1.6 * loss + 0.02 - 0.12 * float(overlap or 1)
    return value - loss * (1.6 if cell.setting == "gray_box" else 1)


def correctness(value: float, n: int = N) -> np.ndarray:
    """(n,) bool with a share of `value` right; images are right in one order of difficulty, so cells nest."""
    return np.arange(n) < round(value * n)


def outcomes(value: Callable[[Cell], float] = expected, n: int = N) -> dict[Cell, np.ndarray]:
    """Outcomes of all cells."""
    return {cell: correctness(value(cell), n) for cell in cells()}


def accuracy_rows(value: Callable[[Cell], float] = expected, n: int = N) -> list[dict]:
    """Accuracy rows of all cells."""
    labels = np.zeros(n, dtype=int)
    return [
        accuracy_row(np.where(right, 0, 1), labels, dataset="shapes", seed=1, model="resnet20", **cell._asdict())
        for cell, right in outcomes(value, n).items()
    ]
