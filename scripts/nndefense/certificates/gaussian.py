"""Certificate B: the probit of a smoothed scalar is 1/sigma-Lipschitz, which sees how near to its range's end it is.

For X = n . h within [a, b], the function Phi^-1((E X - a) / (b - a)) of the image changes by at most 1/sigma times the
distance (Salman et al. 2019). A pair keeps its order while E X stays below t = n . (r_i + r_j) / 2:

    radius_j = sigma (Phi^-1((t - a) / (b - a)) - Phi^-1((E X - a) / (b - a))),

and the answer stands within the smallest over j. With the exact E X, never less than certificate A.
"""

import numpy as np
from scipy.special import ndtri

from nndefense.certificates.base import Certificate, Gallery, Pairs, certify_pairs, check_request
from nndefense.certificates.bounds import empirical_bernstein, vector_error
from nndefense.certificates.draws import moments_of


def certify(
    first: np.ndarray, draws: np.ndarray, gallery: Gallery, *, sigma: float, alpha: float, nonnegative: bool = False
) -> Certificate:
    """The label next to the smoothed embedding, and the radius that the probits of all pairs prove.

    Arguments and errors as in `nndefense.certificates`.
    """
    check_request(first, draws, gallery, sigma, alpha)

    def measure(pairs: Pairs, centre: np.ndarray) -> float:
        return sigma * bounded_gaps(draws, pairs, centre, alpha, nonnegative).min()

    return certify_pairs(first, gallery, nonnegative, measure)


def bounded_gaps(draws: np.ndarray, pairs: Pairs, centre: np.ndarray, alpha: float, nonnegative: bool) -> np.ndarray:
    """Distances, in standard deviations of the noise, at which pairs provably keep their order, (J,) >= 0.

    Of each pair the better of two bounds of E X: by the error of the mean vector, for all pairs at once, and by its own
    empirical Bernstein bound. Half of alpha goes to either, and J bounds share the second half.

    Args:
        draws: (n, D) embeddings.
        pairs: J pairs, chosen without `draws`.
        centre: (D,), near the mean embedding.
        alpha: probability that any of the J distances is too large.
        nonnegative: as of `certify`.
    """
    n = len(draws)
    mean, means, variances = moments_of(draws, pairs.normals, centre, nonnegative)
    widths = pairs.highs - pairs.lows
    by_vector = means + vector_error(np.linalg.norm(mean), n, alpha / 2)
    by_scalar = empirical_bernstein(means, variances, n, widths, alpha / (2 * len(pairs)))
    return gaussian_gaps(np.minimum(by_vector, by_scalar), pairs.bisectors, pairs.lows, pairs.highs)


def gaussian_gaps(means: np.ndarray, bisectors: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """Phi^-1((t - a) / (b - a)) - Phi^-1((s - a) / (b - a)), where positive.

    Args:
        means: (...), s, or upper bounds of it.
        bisectors: (...), t. lows, highs: (...), a < b.

    Returns:
        (...) float64 >= 0: 0 where t <= s or t <= a; infinite where t >= b, which nothing reaches.
    """
    ends = np.clip((bisectors - lows) / (highs - lows), 0, 1)
    starts = np.clip((means - lows) / (highs - lows), 0, 1)
    gaps = np.where(ends >= 1, np.inf, 0.0)
    # Two equal infinities would have no difference.
    inside = starts < ends
    gaps[inside] = ndtri(ends[inside]) - ndtri(starts[inside])
    return gaps
