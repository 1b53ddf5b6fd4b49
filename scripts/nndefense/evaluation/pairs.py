"""Intervals of a mean, and of the difference between two proportions, of the same images or of others."""

from math import sqrt
from statistics import NormalDist

import numpy as np

from nndefense.core.errors import InputError
from nndefense.evaluation.intervals import wilson_interval


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Normal interval of the mean of independent values within [0, 1], clipped to these.

    Args:
        values: (n,), n >= 2.
        level: of confidence, within (0, 1).

    Raises:
        InputError: too few values, or values out of range.
    """
    n = len(values)
    if n < 2 or not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"a mean's interval needs two values or more, each 0 to 1; got {n}")
    centre, half = float(values.mean()), _quantile(level) * float(values.std(ddof=1)) / sqrt(n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(ours: np.ndarray, reference: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Difference of two proportions of the same images, ours minus the reference, and its interval.

    Wald's interval after half an image is added to each of the four cells that a pair can lie in (Agresti and Min
    2005, Statistics in Medicine 24:729): it has a width even where both are right on the same images, which proves no
    equality of finitely many.

    Args:
        ours, reference: (n,) bool, in the same order.
        level: of confidence, within (0, 1).

    Raises:
        InputError: not the same number of images, or none.
    """
    n = len(ours)
    if ours.shape != (n,) or reference.shape != (n,) or not n:
        raise InputError(f"a paired difference needs the same images, got {ours.shape} and {reference.shape}")
    gained, lost = int((ours & ~reference).sum()), int((~ours & reference).sum())
    centre = (gained - lost) / (n + 2)
    half = _quantile(level) * sqrt((gained + lost + 1) / (n + 2) - centre**2) / sqrt(n + 2)
    return (gained - lost) / n, max(-1.0, centre - half), min(1.0, centre + half)


def unpaired_difference(ours: np.ndarray, reference: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Difference of two proportions of different images, ours minus the reference, and its interval.

    Put together from both Wilson intervals (Newcombe 1998, Statistics in Medicine 17:873, method 10).

    Args:
        ours, reference: (n,) and (m,) bool.
        level: of confidence, within (0, 1).

    Raises:
        InputError: no image, or a level out of range.
    """
    shares = [float(one.mean()) if len(one) else 0.0 for one in (ours, reference)]
    (low, high), (least, most) = (wilson_interval(int(one.sum()), len(one), level) for one in (ours, reference))
    difference = shares[0] - shares[1]
    below = sqrt((shares[0] - low) ** 2 + (most - shares[1]) ** 2)
    above = sqrt((high - shares[0]) ** 2 + (shares[1] - least) ** 2)
    return difference, max(-1.0, difference - below), min(1.0, difference + above)


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise InputError(f"level of confidence is {level}; allowed: a number > 0 and < 1")
    return NormalDist().inv_cdf((1 + level) / 2)
