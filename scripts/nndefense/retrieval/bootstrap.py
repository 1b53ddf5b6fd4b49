"""Paired bootstrap of a difference in accuracy over the same images."""

import numpy as np

from nndefense.errors import InputError


def paired_bootstrap(
    correct_a: np.ndarray, correct_b: np.ndarray, seed: int, resamples: int = 10000, level: float = 0.95
) -> tuple[float, float, float]:
    """Accuracy of a minus that of b, and its percentile interval: (difference, low, high).

    correct_a, correct_b: (n,) bool, the same images in the same order. Raises InputError for shapes that do
    not fit.
    """
    correct_a, correct_b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    n = len(correct_a)
    if correct_a.ndim != 1 or correct_a.shape != correct_b.shape or n == 0:
        raise InputError(f"paired bootstrap needs two (n,) arrays, n > 0, got {correct_a.shape} and {correct_b.shape}")
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    # A resample's difference depends only on how many of its images each side alone got right: a multinomial
    # draw of the three counts is the bootstrap itself, without n * resamples index draws.
    shares = np.array([only_a, only_b, n - only_a - only_b]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [(1 - level) / 2, (1 + level) / 2])
    return (only_a - only_b) / n, float(low), float(high)
