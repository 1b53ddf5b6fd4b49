"""Judging a claim: paired bootstrap over test images of differences and trends in accuracy.

Images are resampled with replacement, and every cell is evaluated on the same resamples (Efron and Tibshirani 1993,
percentile interval), so what two cells have in common cancels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from nndefense.axes.cells import Cell
from nndefense.core.errors import InputError
from nndefense.report.claims.outcomes import Outcomes, outcome_rows
from nndefense.report.names import Params
from nndefense.report.select import Row

Statistic = Callable[[np.ndarray], np.ndarray]
VERDICTS = ("supported", "contradicted", "inconclusive", "not tested")


@dataclass(frozen=True)
class Region:
    """The values of an effect that a claim stands for: between `low` and `high`."""

    low: float = -inf
    high: float = inf
    text: str = ""

    def verdict(self, low: float, high: float) -> str:
        """Of the interval [low, high]: supported inside, contradicted outside, inconclusive across an edge."""
        if self.low < low and high < self.high:
            return "supported"
        if high < self.low or low > self.high:
            return "contradicted"
        return "inconclusive"


@dataclass(frozen=True)
class Comparison:
    """One effect: a statistic (..., m) -> (...) of the accuracies of m cells.

    Comparisons of one `group` are of one kind; their mean is the group's effect.
    """

    label: str
    cells: tuple[Cell, ...]
    statistic: Statistic
    group: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: where it stands, what it says (paraphrased), what is compared, what it predicts.

    Attributes:
        compare: (rows of the outcomes, parameters) -> comparisons; none: there are no rows to test it on.
        note: what the paper's own numbers say where they do not all agree with it.
    """

    id: str
    where: str
    text: str
    compared: str
    region: Region
    compare: Callable[[list[Row], Params], list[Comparison]] = field(repr=False)
    note: str = ""


def resampled_accuracies(correct: np.ndarray, seed: int, resamples: int, block: int = 1 << 22) -> np.ndarray:
    """Accuracies (resamples, m) of m cells on resampled images; correct: (n, m) bool.

    The same resamples for every cell. `block` bounds the number of image draws held at once. Raises InputError
    without images.
    """
    n, cells = correct.shape
    if n == 0 or resamples < 1:
        raise InputError(f"bootstrap needs images and resamples, got {n} and {resamples}")
    random = np.random.default_rng(seed)
    values = correct.astype(np.float32)
    means = np.empty((resamples, cells))
    step = max(1, block // n)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        draws = random.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
        # Counts up to n are exact in single precision below 2**24 images.
        weights = np.bincount(draws.ravel(), minlength=count * n).reshape(count, n).astype(np.float32)
        means[start : start + count] = weights @ values / n
    return means


def judge(
    claims: Sequence[Claim],
    outcomes: Outcomes,
    params: Params,
    *,
    seed: int = 1,
    resamples: int = 4000,
    level: float = 0.95,
) -> list[dict[str, Any]]:
    """Rows of COLUMNS: for every claim each group's mean (`pooled` > 1) and its single comparisons (`pooled` 1).

    Raises InputError if the outcomes are not of the same number of images.
    """
    rows = outcome_rows(outcomes)
    compared = [(claim, claim.compare(rows, params)) for claim in claims]
    used = dict.fromkeys(cell for _, found in compared for one in found for cell in one.cells)
    place = {cell: number for number, cell in enumerate(used)}
    n = len(next(iter(outcomes.values()), ()))
    if any(values.shape != (n,) for values in outcomes.values()):
        raise InputError("claims: the cells are not of the same number of images")
    judged = []
    if place:
        correct = np.stack([outcomes[cell] for cell in place], axis=1)
        # The last row is the sample itself.
        accuracies = np.concatenate([resampled_accuracies(correct, seed, resamples), [correct.mean(0)]])
    for claim, found in compared:
        if not found:
            judged.append(claim_row(claim, "", 0, None, 0, "not tested"))
        for group in dict.fromkeys(one.group for one in found):
            same = [one for one in found if one.group == group]
            effects = [one.statistic(accuracies[:, [place[cell] for cell in one.cells]]) for one in same]
            if len(same) > 1:
                name = f"{group}: mean of {len(same)}" if group else f"mean of {len(same)}"
                judged.append(judged_row(claim, name, len(same), np.mean(effects, axis=0), n, level))
            for one, effect in zip(same, effects, strict=True):
                name = f"{group}: {one.label}" if group else one.label
                judged.append(judged_row(claim, name, 1, effect, n, level))
    return judged


COLUMNS = (
    "id",
    "where",
    "claim",
    "claimed",
    "comparison",
    "pooled",
    "effect",
    "ci_low",
    "ci_high",
    "n",
    "verdict",
)


def judged_row(claim: Claim, comparison: str, pooled: int, effect: np.ndarray, n: int, level: float) -> dict[str, Any]:
    """A row of COLUMNS of an effect: its values (resamples + 1,), the last of the sample itself."""
    low, high = np.quantile(effect[:-1], [(1 - level) / 2, (1 + level) / 2])
    # Without this, rounding of 1e-17 around an exact tie would be an effect.
    value, least, most = (round(float(one), 9) for one in (effect[-1], low, high))
    return claim_row(claim, comparison, pooled, (value, least, most), n, claim.region.verdict(least, most))


def claim_row(
    claim: Claim, comparison: str, pooled: int, values: tuple[float, float, float] | None, n: int, verdict: str
) -> dict[str, Any]:
    """A row of COLUMNS; values: effect and interval, None for a claim that was not tested."""
    effect, low, high = values or ("", "", "")
    row = (claim.id, claim.where, claim.text, claim.region.text, comparison, pooled, effect, low, high, n, verdict)
    return dict(zip(COLUMNS, row, strict=True))
