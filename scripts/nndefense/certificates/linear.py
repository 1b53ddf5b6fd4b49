"""Certificate A: the smoothed embedding cannot move faster than its Lipschitz constant (RetrievalGuard's kind).

Lemma: ||z(x) - z(x')|| <= L ||x - x'|| with L = B sqrt(2 / pi) / sigma, where u . h stays within B of some number for
every unit vector u. Gaussian integration by parts gives v . grad E[u . h] = E[(u . h - c) v . noise] / sigma^2 for unit
vectors u, v and any number c, at most B E|v . noise| / sigma^2 = B sqrt(2 / pi) / sigma. Tight for h = sign(v . x).

z keeps its answer while it moves by less than min_j max_i m_ij: radius = m / L.
"""

from math import pi, sqrt

import numpy as np

from nndefense.certificates.base import Certificate, Gallery, Pairs, certify_pairs, check_request
from nndefense.certificates.bounds import vector_error
from nndefense.certificates.draws import mean_of


def certify(
    first: np.ndarray, draws: np.ndarray, gallery: Gallery, *, sigma: float, alpha: float, nonnegative: bool = False
) -> Certificate:
    """The label next to the smoothed embedding, and the radius that its Lipschitz constant proves.

    Arguments and errors as in `nndefense.certificates`.
    """
    check_request(first, draws, gallery, sigma, alpha)
    mean = mean_of(draws, nonnegative)

    def measure(pairs: Pairs, _: np.ndarray) -> float:
        margin = (pairs.bisectors - pairs.normals @ mean).min() - vector_error(np.linalg.norm(mean), len(draws), alpha)
        return linear_radius(margin, sigma, nonnegative)

    # The error bounds the margins of all pairs at once, so the draws themselves may choose among them.
    return certify_pairs(first, gallery, nonnegative, measure, point=mean)


def linear_radius(margin: float, sigma: float, nonnegative: bool) -> float:
    """m / L; of embeddings without negative entries, u . h has a width of at most sqrt(2), so B = sqrt(1/2), else 1."""
    reach = sqrt(1 / 2) if nonnegative else 1
    return margin * sigma * sqrt(pi / 2) / reach
