"""Certificate of a majority vote of noisy copies (Cohen et al. 2019), another decision than the other certificates'.

Each noisy copy votes for the label of the gallery vector next to its own embedding; the answer is the label of most.
Where a label has at least the share p > 1/2 of all copies, it keeps the majority within sigma Phi^-1(p).
"""

from math import inf

import numpy as np
from scipy.special import ndtri

from nndefense.certificates.base import Certificate, Gallery, check_request, conclude, nearest_label
from nndefense.certificates.bounds import clopper_pearson_lower
from nndefense.certificates.draws import read_blocks
from nndefense.core.errors import InputError


def certify(
    first: np.ndarray, draws: np.ndarray, gallery: Gallery, *, sigma: float, alpha: float, nonnegative: bool = False
) -> Certificate:
    """The label that most noisy copies are nearest to, and the radius within which it keeps the majority.

    Arguments and errors as in `nndefense.certificates`; `nonnegative` is checked, and of no use here. Equal vectors of
    different labels answer as the first of them, which leaves this decision certain.
    """
    check_request(first, draws, gallery, sigma, alpha)
    chosen = most_voted(np.concatenate([nearest_label(rows, gallery) for rows in read_blocks(first, nonnegative)]))
    told = (nearest_label(rows, gallery) for rows in read_blocks(draws, nonnegative))
    count = sum(int(np.count_nonzero(labels == chosen)) for labels in told)
    if (gallery.labels == chosen).all():
        return conclude(chosen, inf)
    return conclude(chosen, vote_radius(count, len(draws), sigma, alpha))


def most_voted(labels: np.ndarray) -> int:
    """The label that occurs most often among (n0,) integers >= 0; ties go to the smallest.

    Raises:
        InputError: no label, or a negative one.
    """
    if not len(labels) or min(labels) < 0:
        raise InputError(f"a vote needs labels >= 0, got {len(labels)}, the smallest {min(labels, default=None)}")
    return int(np.bincount(labels).argmax())


def vote_radius(count: int, n: int, sigma: float, alpha: float) -> float:
    """Where a label that `count` of n noisy copies have keeps its majority; not above 0 where nothing is proven.

    For the answers of any classifier to noisy copies, the vote of K neighbours for example: `most_voted` of copies
    drawn apart chooses the label.

    Args:
        count: of n copies, 0 to n.
        n: copies, at least 1.
        sigma: standard deviation of the noise.
        alpha: probability that the radius is too large.

    Returns:
        sigma Phi^-1(p), p the Clopper-Pearson lower bound.

    Raises:
        InputError: an argument out of range.
    """
    return float(sigma * ndtri(clopper_pearson_lower(count, n, alpha)))
