"""Accuracy with its uncertainty, as one tidy row per cell of the experiment."""

from math import isnan, sqrt
from statistics import NormalDist

import numpy as np

from nndefense.errors import InputError

COLUMNS = (
    "dataset",
    "seed",
    "pool",
    "size",
    "model",
    "features",
    "neighbors",
    "weighting",
    "combination",
    "defense",
    "attack",
    "setting",
    "space",
    "epsilon",
    "delta_mean",
    "delta_max",
    "accuracy",
    "ci_low",
    "ci_high",
    "n",
)
_MEASURED = ("delta_mean", "delta_max", "accuracy", "ci_low", "ci_high", "n")
AXES = tuple(column for column in COLUMNS if column not in _MEASURED)


def wilson_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion, within [0, 1] (Wilson 1927).

    Raises InputError unless 0 <= correct <= n, n > 0 and 0 < level < 1.
    """
    if not 0 <= correct <= n or n == 0 or not 0 < level < 1:
        raise InputError(f"interval needs 0 <= correct <= n, n > 0 and 0 < level < 1, got {correct}, {n}, {level}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Exact at the ends, where rounding would leave 1e-17.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return low, high


def accuracy_row(
    predictions: np.ndarray, labels: np.ndarray, delta: np.ndarray | None = None, **axes: object
) -> dict[str, object]:
    """One result row with exactly the keys COLUMNS, in that order.

    predictions, labels: (n,) integers, -1 for "no class", which is never right; all images count, attacked or
    not.
    delta: (n,) measured normalised l2 distances in the row's space, default 0 (clean). axes: the values of
    AXES. The interval is Wilson's at 95 %. Raises InputError for missing or unknown axes, or arrays that do
    not fit.
    """
    if set(axes) != set(AXES):
        missing, unknown = sorted(set(AXES) - set(axes)), sorted(set(axes) - set(AXES))
        raise InputError(f"accuracy row has missing axes {missing} and unknown axes {unknown}")
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    delta = np.zeros(len(labels)) if delta is None else np.asarray(delta, dtype=np.float64)
    if not (labels.ndim == 1 and predictions.shape == labels.shape == delta.shape):
        raise InputError(f"accuracy row needs (n,) arrays, got {predictions.shape}, {labels.shape} and {delta.shape}")
    mean, largest = (float(delta.mean()), float(delta.max())) if len(delta) else (0.0, 0.0)
    if isnan(mean):
        raise InputError("accuracy row has NaN among the measured distances")
    correct, n = int(((predictions == labels) & (predictions >= 0)).sum()), len(labels)
    low, high = wilson_interval(correct, n)
    measured = dict(zip(_MEASURED, (mean, largest, correct / n, low, high, n), strict=True))
    return {column: measured[column] if column in measured else axes[column] for column in COLUMNS}
