"""Weighted votes of neighbours (Dubey et al. 2019, §4 and App. C).

Sums run in float64: with float16 softmax rows and uniform weights they are exact, so the order of neighbours
cannot change a tie, and ties go to the smallest class.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nndefense.core.errors import ConfigError, InputError
from nndefense.models.batching import in_batches
from nndefense.retrieval import WEIGHTINGS
from nndefense.retrieval.weights import weight_columns

COMBINATIONS = ("soft", "hard")
NO_CLASS = -1

Key = tuple[int, str, str]
Take = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def vote(
    softmax: np.ndarray, weights: np.ndarray, combination: str = "soft", valid: np.ndarray | None = None
) -> np.ndarray:
    """Predicted class of each query, (Q,) int64; -1 for a query without a valid neighbour.

    A query whose valid weights are all 0 uses uniform weights.

    Args:
        softmax: (Q, K, C) rows of the neighbours.
        weights: (Q, K) >= 0.
        combination: "soft" takes the largest weighted mean probability, "hard" the weighted plurality of the
            neighbours' classes.
        valid: (Q, K) bool, default all.

    Raises:
        ConfigError: an unknown combination.
        InputError: negative or non-finite weights.
    """
    valid = np.ones(weights.shape, dtype=bool) if valid is None else valid
    (classes,) = _prefix_votes(softmax, weights[:, None, :], valid, [weights.shape[1]], combination)
    return classes[:, 0]


def vote_shares(
    softmax: np.ndarray, weights: np.ndarray, combination: str = "soft", valid: np.ndarray | None = None
) -> np.ndarray:
    """Each class's share of the vote, (Q, C) float32, rows sum to 1; its largest is the class that `vote` predicts.

    A query without a valid neighbour has equal shares. Arguments and errors as of `vote`.
    """
    valid = np.ones(weights.shape, dtype=bool) if valid is None else valid
    ((scores, found),) = _prefix_scores(softmax, weights[:, None, :], valid, [weights.shape[1]], combination)
    scores = np.where(found[:, None], scores[:, 0], 1.0)
    shares = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return keep_winner(shares, scores.argmax(axis=1))


def keep_winner(values: np.ndarray, winner: np.ndarray) -> np.ndarray:
    """Values (Q, C) whose largest is in column winner (Q,): raised by one step where rounding made another equal."""
    lost = np.flatnonzero(values.argmax(axis=1) != winner)
    values[lost, winner[lost]] = np.nextafter(values[lost].max(axis=1), np.float32(np.inf))
    return values


def vote_all(
    softmax: np.ndarray,
    cbw: np.ndarray,
    valid: np.ndarray,
    *,
    neighbors: Sequence[int],
    weightings: Sequence[str],
    combinations: Sequence[str],
    block_bytes: int = 1 << 22,
) -> dict[Key, np.ndarray]:
    """`vote` for every K, weighting and combination at once: {(K, weighting, combination): (Q,) int64}.

    Each row is added once, whatever the number of K values.

    Args:
        softmax: (Q, Kmax, C), nearest first.
        cbw: (Q, Kmax, W), columns as `weights.weight_columns()`.
        valid: (Q, Kmax) bool.
        neighbors: the K values, each <= Kmax.
        weightings: names.
        combinations: of COMBINATIONS.
        block_bytes: about as much is held at once, for a block of queries; the votes do not depend on it.

    Raises:
        ConfigError: an unknown axis value.
        InputError: shapes or weights that do not fit.
    """
    _check_axes(neighbors, weightings, combinations, valid.shape[1])
    queries, _, classes = softmax.shape
    weights = chosen_weights(cbw, weightings)
    ladder = sorted(set(neighbors))
    chosen = {
        (k, weighting, combination): np.empty(queries, dtype=np.int64)
        for k in ladder
        for weighting in weightings
        for combination in combinations
    }
    block = max(1, block_bytes // (8 * ladder[-1] * classes))
    for start in range(0, queries, block):
        rows = slice(start, start + block)
        for combination in combinations:
            votes = _prefix_votes(softmax[rows], weights[rows], valid[rows], ladder, combination)
            for k, predictions in zip(ladder, votes, strict=True):
                for column, weighting in enumerate(weightings):
                    chosen[k, weighting, combination][rows] = predictions[:, column]
    return chosen


def vote_neighbors(
    take: Take,
    ids: np.ndarray,
    *,
    classes: int,
    neighbors: Sequence[int],
    weightings: Sequence[str],
    combinations: Sequence[str],
    block_bytes: int = 1 << 24,
) -> tuple[dict[Key, np.ndarray], dict[tuple[int, str], int]]:
    """`vote_all` from neighbour ids, reading the softmax rows in blocks of queries.

    Args:
        take: ids -> (softmax, weights, valid), as `SoftmaxStore.take`.
        ids: (Q, Kmax), nearest first.
        classes: C.
        neighbors, weightings, combinations: as of `vote_all`.
        block_bytes: bounds one block's float32 rows, besides which about as much again is held. The votes do not depend
            on it.

    Returns:
        The predictions, and the fallback counts as `count_fallbacks` gives them.
    """
    _check_axes(neighbors, weightings, combinations, ids.shape[1])
    ids = ids[:, : max(neighbors)]
    block = max(1, block_bytes // (4 * ids.shape[1] * classes))
    parts: dict[Key, list[np.ndarray]] = {}
    fallbacks: dict[tuple[int, str], int] = {}

    def compute(part: slice) -> tuple[dict[Key, np.ndarray], dict[tuple[int, str], int]]:
        return _block_votes(take, ids[part], neighbors, weightings, combinations)

    for votes, counts in in_batches(compute, max(len(ids), 1), block, "queries"):
        for key, predictions in votes.items():
            parts.setdefault(key, []).append(predictions)
        for place, count in counts.items():
            fallbacks[place] = fallbacks.get(place, 0) + count
    return {key: np.concatenate(blocks) for key, blocks in parts.items()}, fallbacks


def _block_votes(
    take: Take, ids: np.ndarray, neighbors: Sequence[int], weightings: Sequence[str], combinations: Sequence[str]
) -> tuple[dict[Key, np.ndarray], dict[tuple[int, str], int]]:
    # In a function of its own, so that a block's rows are gone before the next are read.
    softmax, cbw, valid = take(ids)
    votes = vote_all(softmax, cbw, valid, neighbors=neighbors, weightings=weightings, combinations=combinations)
    return votes, count_fallbacks(cbw, valid, neighbors, weightings)


def count_fallbacks(
    cbw: np.ndarray, valid: np.ndarray, neighbors: Sequence[int], weightings: Sequence[str]
) -> dict[tuple[int, str], int]:
    """Queries whose valid neighbours all have weight 0, so that UW decides: {(K, weighting): count}."""
    counts = {}
    weights = chosen_weights(cbw, weightings) * valid[:, None, :]
    for k in sorted(set(neighbors)):
        weightless = (weights[:, :, :k] == 0).all(axis=2) & valid[:, None, :k].any(axis=2)
        counts.update({(k, name): int(count) for name, count in zip(weightings, weightless.sum(0), strict=True)})
    return counts


def _check_axes(neighbors: Sequence[int], weightings: Sequence[str], combinations: Sequence[str], places: int) -> None:
    for what, values, allowed in (
        ("weighting", weightings, tuple(WEIGHTINGS)),
        ("combination", combinations, COMBINATIONS),
    ):
        unknown = [value for value in values if value not in allowed]
        if unknown:
            raise ConfigError(f"{what} {unknown[0]!r} is unknown; allowed: {', '.join(allowed)}")
    if not neighbors or min(neighbors) < 1:
        raise ConfigError(f"neighbors are {list(neighbors)}; allowed: integers >= 1")
    if max(neighbors) > places:
        raise InputError(f"neighbors {max(neighbors)} exceeds the {places} places of the neighbour lists")


def chosen_weights(cbw: np.ndarray, weightings: Sequence[str]) -> np.ndarray:
    """Weights (Q, len(weightings), K) of the named weightings.

    Args:
        cbw: (Q, K, W), columns as `weights.weight_columns()`.
        weightings: names.

    Raises:
        InputError: another number of columns.
    """
    columns = weight_columns()
    if cbw.ndim != 3 or cbw.shape[2] != len(columns):
        raise InputError(f"weights have shape {cbw.shape}, expected (Q, K, {len(columns)}) for {', '.join(columns)}")
    uniform = np.ones(cbw.shape[:2], dtype=cbw.dtype)
    return np.stack([uniform if name == "UW" else cbw[:, :, columns.index(name)] for name in weightings], axis=1)


def _prefix_votes(
    softmax: np.ndarray, weights: np.ndarray, valid: np.ndarray, ladder: Sequence[int], combination: str
) -> Iterator[np.ndarray]:
    """Classes (Q, W) for each K, ascending; softmax (Q, K, C), weights (Q, W, K), valid (Q, K)."""
    for scores, found in _prefix_scores(softmax, weights, valid, ladder, combination):
        yield np.where(found[:, None], scores.argmax(axis=2), NO_CLASS)


def _prefix_scores(
    softmax: np.ndarray, weights: np.ndarray, valid: np.ndarray, ladder: Sequence[int], combination: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sums of votes (Q, W, C), which the next ones overwrite, and whether there is a neighbour (Q,); K ascending."""
    if combination not in COMBINATIONS:
        raise ConfigError(f"combination {combination!r} is unknown; allowed: {', '.join(COMBINATIONS)}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError("vote weights must be finite and >= 0")
    # Row 0 holds uniform weights, which decide where a weighting gives every neighbour 0.
    weights = np.concatenate([valid[:, None, :], weights * valid[:, None, :]], axis=1, dtype=np.float64)
    if combination == "hard":
        ballots = softmax.argmax(axis=2)
    elif not valid.all():
        softmax = np.where(valid[:, :, None], softmax, 0)
    scores = np.zeros((*weights.shape[:2], softmax.shape[2]))
    total = np.zeros(weights.shape[:2])
    start = 0
    for stop in ladder:
        part = weights[:, :, start:stop]
        if combination == "soft":
            scores += part @ softmax[:, start:stop].astype(np.float64)
        else:
            scores += _tally(ballots[:, start:stop], part, softmax.shape[2])
        total += part.sum(axis=2)
        weighted = total[:, 1:, None] > 0
        # A copy would cost more than the choice of classes, and is hardly ever needed.
        decisive = scores[:, 1:] if weighted.all() else np.where(weighted, scores[:, 1:], scores[:, :1])
        yield decisive, total[:, 0] > 0
        start = stop


def _tally(ballots: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Sum of the weights of each class's voters, (Q, W, C); ballots (Q, K), weights (Q, W, K)."""
    queries, rows, _ = weights.shape
    lines = np.arange(queries * rows).reshape(queries, rows, 1)
    cells = lines * classes + ballots[:, None, :]
    sums = np.bincount(cells.ravel(), weights=weights.ravel(), minlength=queries * rows * classes)
    return sums.reshape(queries, rows, classes)
