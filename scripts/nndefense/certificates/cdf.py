"""Certificate CDF: bounds the whole distribution of a smoothed scalar (Kumar et al. 2020, arXiv 2009.08061).

For X = n . h within [a, b] and S(v) = P(X > v), no image at the distance R has a P(X > v) above
Phi(Phi^-1(S(v)) + R / sigma) (Neyman and Pearson), hence no E X above

    a + integral from a to b of Phi(Phi^-1(S(v)) + R / sigma) dv.

A pair keeps its order up to the largest R that keeps this below t = n . (r_i + r_j) / 2. With the exact S, never less
than certificate B, by Jensen's inequality. S is bounded at thresholds; between two of them it is at most what it is at
the lower one, and below the first at most 1.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from nndefense.certificates.base import Certificate, Gallery, Pairs, certify_pairs, check_request
from nndefense.certificates.bounds import clopper_pearson_upper
from nndefense.certificates.draws import read_blocks
from nndefense.certificates.gaussian import bounded_gaps

THRESHOLDS = 128
# Of those, beyond the largest first draw: at 1/2, 1/4, ... of what is left of the range.
BEYOND = 8
# Above the values that they come from, so that rounding cannot part an atom. A margin loses at most as much.
ASIDE = 1e-9
# Pairs that are asked for at once.
CHUNK = 32
# Standard deviations: no Clopper-Pearson bound has a probit that far below 0, so that all of them end at 1.
FARTHEST = 80.0
HALVINGS = 50


def certify(
    first: np.ndarray, draws: np.ndarray, gallery: Gallery, *, sigma: float, alpha: float, nonnegative: bool = False
) -> Certificate:
    """The label next to the smoothed embedding, and the radius that the distributions of all pairs prove.

    Of each pair the better of this certificate and B, at alpha / 2 each. Arguments and errors as in
    `nndefense.certificates`.
    """
    check_request(first, draws, gallery, sigma, alpha)
    start = np.concatenate(list(read_blocks(first, nonnegative)))

    def measure(pairs: Pairs, centre: np.ndarray) -> float:
        by_mean = bounded_gaps(draws, pairs, centre, alpha / 2, nonnegative)
        share = alpha / (2 * len(pairs) * THRESHOLDS)
        return sigma * _smallest_gap(start, draws, pairs, by_mean, share, nonnegative)

    return certify_pairs(first, gallery, nonnegative, measure)


def _smallest_gap(
    first: np.ndarray, draws: np.ndarray, pairs: Pairs, by_mean: np.ndarray, share: float, nonnegative: bool
) -> float:
    """min over pairs of the larger of two gaps, asking for as few of the costly ones as it takes.

    In ascending order of B's gaps, a pair whose gap by B is not below the smallest found has a larger gap that is not
    below it either, nor has any pair after it: so stopping there changes nothing. It costs no alpha that draws decide
    which pairs are asked for, since each has its share.
    """
    order = np.argsort(by_mean, kind="stable")
    smallest = np.inf
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        if by_mean[rows[0]] >= smallest:
            break
        found = bounded_cdf_gaps(first, draws, pairs.take(rows), share, nonnegative, limit=smallest)
        smallest = min(smallest, np.maximum(by_mean[rows], found).min())
    return smallest


def bounded_cdf_gaps(
    first: np.ndarray, draws: np.ndarray, pairs: Pairs, share: float, nonnegative: bool, limit: float = np.inf
) -> np.ndarray:
    """Distances, in standard deviations of the noise, at which pairs provably keep their order, (J,) >= 0.

    Args:
        first: (n0, D) float64 embeddings that place the thresholds.
        draws: (n, D) embeddings.
        pairs: J pairs, chosen without `draws`.
        share: failure probability of each of the bounds of S, of which there are `THRESHOLDS` to a pair.
        nonnegative: as of `certify`.
        limit: larger distances need not be told apart.
    """
    thresholds = place_thresholds(first @ pairs.normals.T, pairs.lows, pairs.highs)
    above = clopper_pearson_upper(_count_above(draws, pairs.normals, thresholds, nonnegative), len(draws), share)
    return cdf_gaps(thresholds, above, pairs.bisectors, pairs.highs, limit)


def place_thresholds(first: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """Where to bound S, (J, THRESHOLDS) ascending within [a, b].

    Between two thresholds dv apart over which S falls by dS the integral may be too large by dv dS: they lie at equal
    steps of v / (largest - smallest) - S of the first draws. That bounds the sum by the range of these draws over the
    number of thresholds, which it would reach at equal steps of S alone.

    Args:
        first: (n0, J) first draws of X.
        lows, highs: (J,), a and b.
    """
    values = np.sort(first, axis=0)
    shares = (np.arange(len(values)) + 0.5) / len(values)
    steps = np.linspace(0, 1, THRESHOLDS - BEYOND)
    beyond = 0.5 ** np.arange(BEYOND, 0, -1)
    placed = np.empty((len(lows), THRESHOLDS))
    for row, (line, low, high) in enumerate(zip(values.T, lows, highs, strict=True)):
        span = line[-1] - line[0]
        heights = shares + (line - line[0]) / (span if span > 0 else 1)
        inner = np.interp(heights[0] + steps * (heights[-1] - heights[0]), heights, line)
        placed[row] = np.clip(np.concatenate([inner, line[-1] + beyond * (high - line[-1])]) + ASIDE, low, high)
    return np.maximum.accumulate(placed, axis=1)


def cdf_gaps(
    thresholds: np.ndarray, above: np.ndarray, bisectors: np.ndarray, highs: np.ndarray, limit: float = np.inf
) -> np.ndarray:
    """The largest r with v_1 + sum over k of (v_k+1 - v_k) Phi(Phi^-1(S_k) + r) <= t, v_m+1 = b.

    Args:
        thresholds: (J, m) ascending, v_k, within [a, b].
        above: (J, m) within [0, 1], S_k, or upper bounds of it.
        bisectors: (J,), t. highs: (J,), b.
        limit: larger r need not be told apart.

    Returns:
        (J,) float64 >= 0, at most `limit`, rounded down by at most 80 / 2^50: 0 where r = 0 is too large, and without a
        limit infinite where t >= b, which nothing reaches.
    """
    probits = ndtri(above)
    widths = np.diff(thresholds, axis=1, append=highs[:, None])

    def holds(rows: np.ndarray, gaps: np.ndarray) -> np.ndarray:
        integrals = np.einsum("jm,jm->j", widths[rows], ndtr(probits[rows] + gaps[:, None]))
        return thresholds[rows, 0] + integrals <= bisectors[rows]

    found = np.full(len(highs), min(limit, FARTHEST))
    rows = np.flatnonzero(~holds(np.arange(len(highs)), found))
    small, large = np.zeros(len(rows)), found[rows]
    for _ in range(HALVINGS):
        middle = (small + large) / 2
        kept = holds(rows, middle)
        small, large = np.where(kept, middle, small), np.where(kept, large, middle)
    found[rows] = small
    return np.where(bisectors >= highs, limit, found)


def _count_above(draws: np.ndarray, normals: np.ndarray, thresholds: np.ndarray, nonnegative: bool) -> np.ndarray:
    """How many draws have X > v, (J, m) integers; thresholds (J, m)."""
    counts = np.zeros(thresholds.shape, dtype=np.int64)
    for rows in read_blocks(draws, nonnegative):
        for line, values, found in zip(np.sort(normals @ rows.T, axis=1), thresholds, counts, strict=True):
            found += len(line) - np.searchsorted(line, values, side="right")
    return counts
