"""Confidence weights of database images (Dubey et al. 2019, §4): how sure the classifier is of each."""

from collections.abc import Callable

import numpy as np

from nndefense.core.errors import ConfigError
from nndefense.core.registry import load
from nndefense.retrieval import WEIGHTINGS


def uniform(softmax: np.ndarray) -> np.ndarray:
    """UW: weight 1 for each row of (n, C), (n,) float32."""
    return np.ones(softmax.shape[:-1], dtype=np.float32)


def cbw_e(softmax: np.ndarray) -> np.ndarray:
    """CBW-E: log C minus the entropy (nats) of rows (..., C); (...) float32 in [0, log C]; 0 log 0 = 0."""
    s = softmax.astype(np.float64)
    plogp = s * np.log(np.where(s > 0, s, 1.0))
    return np.maximum(np.log(s.shape[-1]) + plogp.sum(axis=-1), 0.0).astype(np.float32)


def cbw_d(softmax: np.ndarray, m: int = 20, p: float = 3.0) -> np.ndarray:
    """CBW-D: sum over the next m classes of (s_1 - s_i)^p, s sorted descending; (...) float32 in [0, m].

    Args:
        softmax: (..., C).
        m: classes counted, 20 in the paper; at most C - 1, which matters on data sets with few classes.
        p: power, 3 in the paper.

    Raises:
        ConfigError: m < 1 or p <= 0.
    """
    if m < 1 or not p > 0:
        raise ConfigError(f"CBW-D has m={m}, p={p}; allowed: m >= 1, p > 0")
    s = softmax.astype(np.float64)
    top = min(m, s.shape[-1] - 1) + 1
    if top < s.shape[-1]:
        s = -np.partition(-s, top - 1, axis=-1)[..., :top]
    # The largest class contributes (s_1 - s_1)^p = 0, so it may stay in the sum.
    return ((s.max(axis=-1, keepdims=True) - s) ** p).sum(axis=-1).astype(np.float32)


def weighting_function(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function of a registered weighting. Raises ConfigError for an unknown name."""
    if name not in WEIGHTINGS:
        raise ConfigError(f"weighting {name!r} is unknown; allowed: {', '.join(WEIGHTINGS)}")
    return load(WEIGHTINGS[name])


def largest_contribution(name: str, classes: int) -> float:
    """W_max, the most that one neighbour can add to a class c over a class y: the largest w(p) (p[c] - p[y]).

    A one-hot row of c attains it, so it is the weight of such a row: p[c] - p[y] <= 1 with equality there, and no row
    has a larger weight. UW: all weights are 1. CBW-E: an entropy is >= 0, and 0 there, which leaves log C. CBW-D: none
    of its min(m, C - 1) terms exceeds 1, as s_1 - s_i <= 1, and there each is 1. Rounding is monotone, so this holds of
    floats, too.

    Args:
        name: of a registered weighting. One that gives another row a larger weight has no certificate by this.
        classes: C >= 2.

    Raises:
        ConfigError: an unknown name.
    """
    return float(weighting_function(name)(np.eye(1, classes, dtype=np.float32))[0])


def weight_columns() -> tuple[str, ...]:
    """Names of the stored weight columns, in order: every registered weighting but UW."""
    return tuple(name for name in WEIGHTINGS if name != "UW")


def stored_weights(softmax: np.ndarray) -> np.ndarray:
    """All weight columns of softmax rows (n, C) float32, taken before any cast to float16: (n, W) float32."""
    return np.stack([weighting_function(name)(softmax) for name in weight_columns()], axis=-1)
