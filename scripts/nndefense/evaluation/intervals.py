"""Intervals of a proportion."""

from math import sqrt
from statistics import NormalDist

from nndefense.core.errors import InputError


def wilson_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion, within [0, 1] (Wilson 1927).

    What `scipy.stats.binomtest(correct, n).proportion_ci(level, "wilson")` gives, to 1e-15.

    Args:
        correct: successes, 0 to n.
        n: trials, at least 1.
        level: of confidence, within (0, 1).

    Raises:
        InputError: an argument out of range.
    """
    if not 0 <= correct <= n or n == 0 or not 0 < level < 1:
        raise InputError(f"interval needs 0 <= correct <= n, n > 0 and 0 < level < 1, got {correct}, {n}, {level}")
    # Not by SciPy: `scipy.stats` takes half a second to import, and Snakemake imports this while it parses.
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Exact at the ends, where rounding would leave 1e-17.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return low, high
