"""Claims about certified retrieval: certified answers do not change, and sigma trades recall for radius."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nndefense.core.arrays import read_arrays
from nndefense.evaluation.guarded import flips
from nndefense.evaluation.intervals import wilson_interval
from nndefense.report.claims.judge import Claim, Region, claim_row, judged_row, resampled_accuracies

WHERE = "RetrievalGuard (Wu et al. 2022)"
RULES = {"mean": "mean embedding", "vote": "vote of the copies"}
POSITIVE = Region(low=0.0, text="> 0")

INVARIANT = Claim(
    "G1.invariant",
    WHERE,
    "Recall@1 does not change within the certified radius.",
    "share of certified answers that attacks at 0.95 of their radius changed, by fresh noise",
    Region(text="0"),
    lambda rows, params: [],
    "The interval is Wilson's. A certificate may fail with probability alpha for each query.",
)
LESS_RECALL = Claim(
    "G2.recall_falls_with_sigma",
    WHERE,
    "More noise costs recall.",
    "recall@1 of the smoothed model with the smaller sigma minus with the larger one",
    POSITIVE,
    lambda rows, params: [],
)
MORE_RADIUS = Claim(
    "G2.radius_grows_with_sigma",
    WHERE,
    "More noise certifies larger radii.",
    "mean certified radius (0 where wrong or abstained) with the larger sigma minus with the smaller one",
    POSITIVE,
    lambda rows, params: [],
)
RETRIEVAL_CLAIMS = (INVARIANT, LESS_RECALL, MORE_RADIUS)


def judge_invariance(checked: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of COLUMNS: certified answers that changed, of each retrieval and decision; no bootstrap.

    checked: retrieval -> file of `scripts/check_certificates.py`. One changed answer contradicts the claim.
    """
    found = []
    for name, path in checked.items():
        stored = read_arrays(path, "answered", "certified", "rule")
        for rule, label in RULES.items():
            changed, n = flips(stored, rule)
            if n:
                values = (changed / n, *wilson_interval(changed, n))
                verdict = "contradicted" if changed else "supported"
                found.append(claim_row(INVARIANT, f"{name}, {label}", 1, values, n, verdict))
    return found or [claim_row(INVARIANT, "", 0, None, 0, "not tested")]


def judge_trade_off(
    families: Mapping[str, Mapping[float, Sequence[str]]], seed: int, resamples: int, level: float = 0.95
) -> list[dict[str, Any]]:
    """Rows of COLUMNS: recall lost, and radius won, from the smallest to the largest sigma of each retrieval.

    Args:
        families: retrieval without its sigma -> sigma -> files of answers and of a certificate of the mean embedding.
        seed, resamples: of the bootstrap over queries. level: of the interval.
    """
    found: dict[str, list[dict[str, Any]]] = {LESS_RECALL.id: [], MORE_RADIUS.id: []}
    for name, files in families.items():
        small, large = min(files), max(files)
        if small == large:
            continue
        values = np.stack([one for sigma in (small, large) for one in _of_queries(*files[sigma])], axis=1)
        means = np.concatenate([resampled_accuracies(values, seed, resamples), [values.mean(axis=0)]])
        label, n = f"{name}, σ = {small:g} and {large:g}", len(values)
        for claim, effect in ((LESS_RECALL, means[:, 0] - means[:, 2]), (MORE_RADIUS, means[:, 3] - means[:, 1])):
            found[claim.id].append(judged_row(claim, label, 1, effect, n, level))
    untested = [claim_row(claim, "", 0, None, 0, "not tested") for claim in (LESS_RECALL, MORE_RADIUS)]
    return [row for one in untested for row in found[one["id"]] or [one]]


def _of_queries(answers: str, certificate: str) -> tuple[np.ndarray, np.ndarray]:
    """Whether the smoothed model is right, and the radius of right answers, (n,) each."""
    stored, certified = read_arrays(answers, "labels", "mean"), read_arrays(certificate, "classes", "radius")
    right = certified["classes"] == stored["labels"]
    return (stored["mean"] == stored["labels"]).astype(float), np.where(right, certified["radius"], 0.0)
