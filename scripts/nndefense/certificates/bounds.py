"""Bounds on what a mean of independent draws leaves open: the Monte-Carlo errors of certificates.

Each holds with probability at least 1 - alpha, where alpha is that one bound's share of what may fail.
"""

from math import log, sqrt

import numpy as np
from scipy.special import betainccinv, betaincinv

from nndefense.core.errors import InputError

# By more than the rounding of the quantiles of the beta distribution.
OUTWARDS = 1e-12
# More than the rounding of a variance of values within [-1, 1], whose root would magnify it.
VARIANCE_ROUNDING = 1e-14


def mcdiarmid_error(n: int, alpha: float) -> float:
    """How far the mean of n draws of a vector with ||h|| <= 1 can be from E h: 1/sqrt(n) + sqrt(2 ln(1/alpha) / n).

    McDiarmid (1989) on the length of the error. Valid whatever the draws, and loose: `vector_error` looks at them.

    Args:
        n: draws, at least 1.
        alpha: failure probability, within (0, 1).

    Raises:
        InputError: an argument out of range.
    """
    _check(n, alpha)
    return (1 + sqrt(-2 * log(alpha))) / sqrt(n)


def vector_error(mean_norm: float | np.floating, n: int, alpha: float) -> float:
    """How far the mean of n draws of a vector with ||h|| <= 1 can be from E h, given how long it is.

    Bernstein's inequality in Hilbert space (Pinelis and Sakhanenko 1985; Pinelis 1994), with ||h - E h|| <= 2 and
    V = E ||h - E h||^2:

        P(error >= r) <= 2 exp(-n r^2 / (2 (V + 2 r / 3))).

    It holds but for alpha at r = e(V) = (b + sqrt(b^2 + 8 n L V)) / (2 n), L = ln(2/alpha), b = 4 L / 3. For unit
    vectors, V = 1 - ||E h||^2; for shorter ones V = E ||h||^2 - ||E h||^2 is at most that, so what follows stays valid.
    Where the error is at most e(V), ||E h|| >= mean_norm - e(V): so e(V) <= e(1 - (mean_norm - e(V))_+^2), and e(V) is
    at most the largest r with r = e(1 - (mean_norm - r)_+^2), without another alpha. That r is e(1) if it is not below
    mean_norm, else the positive root of n r^2 - b r = 2 L (1 - (mean_norm - r)^2).

    Args:
        mean_norm: length of the mean of the draws, >= 0; more than 1 counts as 1.
        n: draws, at least 1.
        alpha: failure probability, within (0, 1).

    Raises:
        InputError: an argument out of range.
    """
    _check(n, alpha)
    if not mean_norm >= 0:
        raise InputError(f"mean_norm is {mean_norm}; allowed: a number >= 0")
    length, tail = min(float(mean_norm), 1.0), log(2) - log(alpha)
    error = _positive_root(n, 4 * tail / 3, 2 * tail)
    if error >= length:
        return error
    return _positive_root(n + 2 * tail, 4 * tail * (1 / 3 + length), 2 * tail * (1 - length**2))


def empirical_bernstein(
    means: np.ndarray, variances: np.ndarray, n: int, ranges: np.ndarray | float, alpha: float
) -> np.ndarray:
    """Upper bounds of expectations: mean + sqrt(2 variance L / n) + 7 range L / (3 (n - 1)), L = ln(2/alpha).

    Maurer and Pontil (2009), theorem 4.

    Args:
        means: (...) of n independent draws.
        variances: (...) of the draws, unbiased: sums of squares over n - 1.
        n: draws, at least 2.
        ranges: (...) or one number, the width of the interval that the variable lies in.
        alpha: failure probability of each bound, within (0, 1); of J together, J times as much.

    Returns:
        (...) float64.

    Raises:
        InputError: an argument out of range.
    """
    _check(n, alpha, least=2)
    tail = log(2) - log(alpha)
    return means + np.sqrt(2 * (variances + VARIANCE_ROUNDING) * tail / n) + 7 * ranges * tail / (3 * (n - 1))


def clopper_pearson_upper(counts: np.ndarray, n: int, alpha: float) -> np.ndarray:
    """Upper bounds of proportions (Clopper and Pearson 1934), one-sided.

    Args:
        counts: (...) integers, 0 to n: successes among n trials.
        n: trials, at least 1.
        alpha: failure probability of each bound, within (0, 1).

    Returns:
        (...) float64 within (0, 1]: the p at which `counts` or fewer successes have the probability alpha.

    Raises:
        InputError: an argument out of range.
    """
    values, places = _distinct(counts, n, alpha)
    bounds = np.ones(len(values))
    some = values < n
    # By its complement, since 1 - alpha would round a small alpha away.
    bounds[some] = betainccinv(values[some] + 1, n - values[some], alpha)
    return np.minimum(bounds * (1 + OUTWARDS), 1)[places]


def clopper_pearson_lower(counts: np.ndarray | int, n: int, alpha: float) -> np.ndarray:
    """Lower bounds of proportions, (...) float64 within [0, 1); otherwise as `clopper_pearson_upper`."""
    values, places = _distinct(counts, n, alpha)
    bounds = np.zeros(len(values))
    some = values > 0
    bounds[some] = betaincinv(values[some], n - values[some] + 1, alpha)
    return (bounds * (1 - OUTWARDS))[places]


def _distinct(counts: np.ndarray | int, n: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The distinct counts and where they stand: quantiles are slow, and there are only n + 1 of them."""
    _check(n, alpha)
    values, places = np.unique(counts, return_inverse=True)
    if values.size and not 0 <= values[0] <= values[-1] <= n:
        raise InputError(f"counts reach from {values[0]} to {values[-1]}; allowed: 0 to {n}")
    return values, places.reshape(np.shape(counts))


def _positive_root(square: float, linear: float, constant: float) -> float:
    """The positive solution r of square r^2 = linear r + constant, for positive numbers."""
    return (linear + sqrt(linear**2 + 4 * square * constant)) / (2 * square)


def _check(n: int, alpha: float, least: int = 1) -> None:
    if n < least or not 0 < alpha < 1:
        raise InputError(f"a bound needs n >= {least} and 0 < alpha < 1, got n={n}, alpha={alpha}")
