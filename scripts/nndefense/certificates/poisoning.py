"""What insertions into the database cannot change: a certificate of the neighbours' votes against poisoning.

The idea is that of Jia, Liu, Cao & Gong (AAAI 2022), who count majority votes; here votes are weighted. Of t insertions
among the K nearest, the first K - t of the neighbours remain, or all where there are fewer. Among these, class y is
ahead of class c by the sum of w_k (p_k[y] - p_k[c]). An insertion takes at most W_max of that (`largest_contribution`),
and a one-hot row of c takes just as much. So the vote stays y, whatever is inserted, if and only if for every t <= T
and every c the lead is above t W_max; or equal to it, where y is the smaller class, which wins a tie.

Where all neighbours have weight 0, uniform weights decide, but only until a row with any weight is inserted: that one
decides alone. The condition says so by itself, as a lead of 0 is below W_max.

An insertion is any image with any softmax row, as near as it likes. Encoder, PCA and what the index was trained on are
those from before, and the search is exact: other images keep their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nndefense.core.errors import ConfigError, InputError
from nndefense.models.batching import in_batches
from nndefense.retrieval.votes import COMBINATIONS, Key, Take, chosen_weights, vote, vote_all
from nndefense.retrieval.weights import largest_contribution

POISONING, INSERTIONS = "poisoning", "insertions"

Certified = tuple[np.ndarray, np.ndarray]


def certify_vote(
    softmax: np.ndarray,
    weights: np.ndarray,
    largest: float,
    combination: str = "soft",
    valid: np.ndarray | None = None,
) -> Certified:
    """The class that `vote` predicts, (Q,) int64, and the most insertions that cannot change it, (Q,) int64.

    A query without a valid neighbour has class -1 and 0 insertions. 0 elsewhere: a single one may change the class.

    Args:
        softmax: (Q, K, C) rows of the neighbours in [0, 1], nearest first, of single precision at most; C >= 2.
        weights: (Q, K) in [0, largest], of single precision.
        largest: W_max > 0, of single precision, as `largest_contribution` gives it.
        combination: of COMBINATIONS.
        valid: (Q, K) bool, default all.

    Raises:
        ConfigError: an unknown combination.
        InputError: rows or weights out of range.
    """
    valid = np.ones(weights.shape, dtype=bool) if valid is None else valid
    classes = vote(softmax, weights, combination, valid)
    return classes, _tolerated(_tally(softmax, weights, valid, combination, largest), classes, weights.shape[1])


def certify_all(
    softmax: np.ndarray,
    cbw: np.ndarray,
    valid: np.ndarray,
    *,
    neighbors: Sequence[int],
    weightings: Sequence[str],
    combinations: Sequence[str],
    block_bytes: int = 1 << 25,
) -> dict[Key, Certified]:
    """`certify_vote` for every K, weighting and combination at once: {(K, weighting, combination): (classes, radii)}.

    Each row is added once, whatever the number of K values.

    Args:
        softmax: (Q, Kmax, C), nearest first.
        cbw: (Q, Kmax, W), columns as `weights.weight_columns()`.
        valid: (Q, Kmax) bool.
        neighbors: the K values, each <= Kmax.
        weightings: names.
        combinations: of COMBINATIONS.
        block_bytes: about as much is held at once, for a block of queries.

    Raises:
        ConfigError: an unknown axis value.
        InputError: shapes, rows or weights that do not fit.
    """
    axes: dict[str, Any] = {"neighbors": neighbors, "weightings": weightings, "combinations": combinations}
    votes = vote_all(softmax, cbw, valid, **axes, block_bytes=block_bytes)
    weights = chosen_weights(cbw, weightings)
    radii = {key: np.empty(len(classes), dtype=np.int64) for key, classes in votes.items()}
    places, classes = max(neighbors), softmax.shape[2]
    # Four arrays of the rows' shape are held at a time.
    block = max(1, block_bytes // (4 * 8 * places * classes))
    for start in range(0, len(softmax), block):
        part = slice(start, start + block), slice(places)
        for column, weighting in enumerate(weightings):
            largest = largest_contribution(weighting, classes)
            for combination in combinations:
                tally = _tally(softmax[part], weights[:, column][part], valid[part], combination, largest)
                for k in set(neighbors):
                    key = k, weighting, combination
                    radii[key][part[0]] = _tolerated(tally, votes[key][part[0]], k)
    return {key: (classes, radii[key]) for key, classes in votes.items()}


def certify_neighbors(
    take: Take,
    ids: np.ndarray,
    *,
    classes: int,
    neighbors: Sequence[int],
    weightings: Sequence[str],
    combinations: Sequence[str],
    block_bytes: int = 1 << 28,
) -> dict[Key, Certified]:
    """`certify_all` from neighbour ids, reading the softmax rows in blocks of queries.

    Args:
        take: ids -> (softmax, weights, valid), as `SoftmaxStore.take`.
        ids: (Q, Kmax), nearest first, -1 where there is no neighbour.
        classes: C.
        neighbors, weightings, combinations: as of `certify_all`.
        block_bytes: bounds one block's float32 rows.
    """
    ids = ids[:, : max(neighbors, default=0)]
    block = max(1, block_bytes // (4 * max(1, ids.shape[1]) * classes))
    axes: dict[str, Any] = {"neighbors": neighbors, "weightings": weightings, "combinations": combinations}
    parts = list(in_batches(lambda part: certify_all(*take(ids[part]), **axes), max(len(ids), 1), block, "queries"))
    return {
        key: (np.concatenate([part[key][0] for part in parts]), np.concatenate([part[key][1] for part in parts]))
        for key in parts[0]
    }


# -- one weighting and combination


@dataclass(frozen=True)
class _Tally:
    """Votes of the first r neighbours of every query, for all r from 0 to K at once.

    Attributes:
        terms: (Q, K, C) float64, what each neighbour adds; those that are not valid stand last.
        sums: (Q, K + 1, C) float64, of the first r.
        second: (Q, K + 1), the class behind the leading one; ties to the smallest.
        valid: (Q, K) bool, as given.
        largest: W_max.
    """

    terms: np.ndarray
    sums: np.ndarray
    second: np.ndarray
    valid: np.ndarray
    largest: float


def _tally(softmax: np.ndarray, weights: np.ndarray, valid: np.ndarray, combination: str, largest: float) -> _Tally:
    """Count (Q, K, C) rows with weights (Q, K)."""
    if combination not in COMBINATIONS:
        raise ConfigError(f"combination {combination!r} is unknown; allowed: {', '.join(COMBINATIONS)}")
    order = np.argsort(~valid, axis=1, kind="stable")
    weights = np.take_along_axis(np.where(valid, weights, 0.0).astype(np.float64), order, axis=1)
    rows = np.take_along_axis(np.where(valid[:, :, None], softmax, 0.0), order[:, :, None], axis=1)
    _check(rows, weights, largest)
    if combination == "hard":
        rows = rows.argmax(axis=2)[:, :, None] == np.arange(rows.shape[2])
    terms = weights[:, :, None] * rows
    sums = np.zeros((terms.shape[0], terms.shape[1] + 1, terms.shape[2]))
    np.cumsum(terms, axis=1, out=sums[:, 1:])
    others = sums.copy()
    np.put_along_axis(others, sums.argmax(axis=2)[:, :, None], -1.0, axis=2)
    return _Tally(terms, sums, others.argmax(axis=2), valid, largest)


def _check(rows: np.ndarray, weights: np.ndarray, largest: float) -> None:
    if rows.shape[2] < 2:
        raise InputError(f"softmax rows have {rows.shape[2]} classes; allowed: at least 2")
    # The comparisons are written so that NaN fails them.
    if not ((rows >= 0) & (rows <= 1)).all():
        raise InputError("softmax rows have values outside of [0, 1]")
    if not largest > 0 or not ((weights >= 0) & (weights <= largest)).all():
        raise InputError(f"vote weights must be within [0, {largest:g}], the weight of a one-hot row")


def _tolerated(tally: _Tally, classes: np.ndarray, k: int) -> np.ndarray:
    """The most insertions that leave the votes of the first k places at `classes` (Q,): (Q,) int64, at most k - 1."""
    inserted = np.arange(1, k)
    kept = np.minimum(tally.valid[:, :k].sum(axis=1)[:, None], k - inserted)
    queries, own = np.arange(len(classes))[:, None], classes[:, None]
    # Insertions help all rivals alike. A class that is second, or worse, among those kept has no lead over the second.
    rival = tally.second[queries, kept]
    lead = tally.sums[queries, kept, own] - tally.sums[queries, kept, rival]
    spare = lead - inserted * tally.largest
    _subtract_rounding(spare, tally, k)
    holds = (spare > 0) | ((spare == 0) & (own < rival))
    return np.logical_and.accumulate(holds, axis=1).sum(axis=1)


def _subtract_rounding(spare: np.ndarray, tally: _Tally, k: int) -> None:
    """Take what rounding may amount to off `spare` (Q, k - 1), in place, in queries where it can decide.

    Votes are sums in float64 of at most k terms, which are exact as products of single precision. In any order a sum is
    off by less than k eps / 2 of itself (Higham, Accuracy and Stability of Numerical Algorithms, §4.2). No two classes
    have more than k W_max together: as deployed they are off by less than k eps k W_max / 2, as added here by as much,
    and `spare` by two roundings more. Sums are exact where all terms are multiples of a power of two that the largest
    sum still resolves, as those of float16 rows with uniform weights are; then ties are true ties.

    Insertions other than one-hot rows may round otherwise, which is no matter: sums of numbers >= 0 in one order,
    rounded, do not fall when a term grows.
    """
    close = np.flatnonzero((np.abs(spare) <= _rounding(tally.largest, k)).any(axis=1))
    unit = np.spacing(k * tally.largest)
    multiples = tally.terms[close, :k] / unit
    exact = (multiples == np.rint(multiples)).all(axis=(1, 2))
    spare[close[~exact]] -= _rounding(tally.largest, k)


def _rounding(largest: float, k: int) -> float:
    # Twice what is needed.
    return 2 * (k + 1) * np.finfo(np.float64).eps * k * largest
