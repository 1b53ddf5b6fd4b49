"""What certificates share: the gallery, the answer, and the margins between it and what could replace it.

The setting (after RetrievalGuard, ICML 2022): an embedding h with ||h|| <= 1, an image x, noise of standard deviation
sigma. The smoothed embedding is z = E h(x + noise), not normalised again, and its answer is the label of the gallery
vector next to it. The gallery is fixed: it must not depend on the query.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
from scipy.spatial.distance import cdist

from nndefense.certificates.draws import mean_of
from nndefense.core.errors import InputError

NO_CLASS = -1
# Taken off every margin, relative to the length of the vectors: far above the rounding of float64 sums, and far below
# every Monte-Carlo error. No rounding error can then lengthen a radius.
ROUNDING = 1e-11


@dataclass(frozen=True, eq=False)
class Gallery:
    """Fixed vectors that images are compared with.

    Attributes:
        vectors: (G, D), finite; kept as float64. Frozen means of embeddings, or prototypes.
        labels: (G,) integers >= 0.

    Raises:
        InputError: arrays that do not fit each other, no vector, or values out of range.
    """

    vectors: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        # Adding 0 turns -0 into 0, so that equal vectors have equal bytes.
        vectors, labels = np.asarray(self.vectors, dtype=np.float64) + 0.0, np.asarray(self.labels)
        if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or not vectors.size:
            raise InputError(f"a gallery needs (G, D) vectors and (G,) labels, got {vectors.shape} and {labels.shape}")
        if not np.isfinite(vectors).all():
            raise InputError("a gallery's vectors must be finite")
        if labels.dtype.kind not in "iu" or labels.min() < 0:
            raise InputError("a gallery's labels must be integers >= 0")
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "labels", labels)

    @cached_property
    def distinct(self) -> np.ndarray:
        """Indices of the vectors that equal none before them, ascending."""
        found: dict[bytes, int] = {}
        for row, vector in enumerate(self.vectors):
            found.setdefault(vector.tobytes(), row)
        return np.array(list(found.values()))


@dataclass(frozen=True)
class Certificate:
    """An answer, and how far the image may move without changing it.

    Attributes:
        label: of the answer; -1 where the certificate abstains: it can prove no radius above 0.
        radius: l2 distance of images in [0, 1], >= 0; infinite where no other answer is possible.
    """

    label: int
    radius: float


ABSTENTION = Certificate(NO_CLASS, 0.0)


@dataclass(frozen=True, eq=False)
class Pairs:
    """A right vector r_i for each wrong one r_j, and the half-space in which it is the nearer one.

    r_i is nearer to z than r_j just where normal . z < bisector.

    Attributes:
        normals: (J, D), n = (r_j - r_i) / ||r_j - r_i||.
        bisectors: (J,), t = n . (r_i + r_j) / 2, rounded down by more than its error.
        lows, highs: (J,), the range of n . h over all embeddings h.
    """

    normals: np.ndarray
    bisectors: np.ndarray
    lows: np.ndarray
    highs: np.ndarray

    def __len__(self) -> int:
        return len(self.bisectors)

    def take(self, rows: np.ndarray | slice) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.normals[rows], self.bisectors[rows], self.lows[rows], self.highs[rows])


def conclude(label: int, radius: float) -> Certificate:
    """The certificate of a proven radius; it abstains where that is not above 0."""
    return Certificate(int(label), float(radius)) if radius > 0 else ABSTENTION


def check_request(first: np.ndarray, draws: np.ndarray, gallery: Gallery, sigma: float, alpha: float) -> None:
    """Check a certificate's arguments, but for the embeddings' values (`draws.read_blocks` does).

    Raises:
        InputError: names the argument that is out of range.
    """
    width = gallery.vectors.shape[1]
    for name, array, least in (("first", first, 1), ("draws", draws, 2)):
        if array.ndim != 2 or array.shape[1] != width or len(array) < least:
            raise InputError(f"{name} has shape {array.shape}; allowed: (n, {width}) with n >= {least}")
    if not 0 < sigma < inf:
        raise InputError(f"sigma is {sigma}; allowed: a number > 0")
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha}; allowed: a number within (0, 1)")


def nearest_label(points: np.ndarray, gallery: Gallery) -> np.ndarray:
    """Label of the gallery vector next to each point; equal vectors count as the first of them.

    Args:
        points: (n, D) float64.
        gallery: of G vectors.

    Returns:
        (n,) labels; ties go to the smallest index.
    """
    # Without repetitions, which products of matrices may round differently from each other.
    vectors = gallery.vectors[gallery.distinct]
    distances = (vectors**2).sum(axis=1) - 2 * points @ vectors.T
    return gallery.labels[gallery.distinct[distances.argmin(axis=1)]]


def split(label: int, gallery: Gallery) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of a class, (I, D), and all others, (J, D)."""
    right = gallery.labels == label
    return gallery.vectors[right], gallery.vectors[~right]


def certify_pairs(
    first: np.ndarray,
    gallery: Gallery,
    nonnegative: bool,
    measure: Callable[[Pairs, np.ndarray], float],
    point: np.ndarray | None = None,
) -> Certificate:
    """The label next to the mean of the first draws, and the radius within which its pairs keep their order.

    Args:
        first, gallery, nonnegative: as of every certificate.
        measure: of J > 0 pairs and the mean of the first draws, (D,), to the radius; not asked where no wrong vector
            exists (the radius is infinite) or nothing can keep one out (it abstains).
        point: (D,), where the pairs are chosen, if not at the mean of the first draws.
    """
    centre = mean_of(first, nonnegative)
    label = nearest_label(centre[None], gallery)[0]
    right, wrong = split(label, gallery)
    if not len(wrong):
        return conclude(label, inf)
    pairs = pair_up(centre if point is None else point, right, wrong, nonnegative)
    return conclude(label, 0 if pairs is None else measure(pairs, centre))


def margins(point: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Signed distance of a point from the bisector of each right and wrong vector, > 0 on the right side.

    m_ij = (||z - r_j||^2 - ||z - r_i||^2) / (2 ||r_i - r_j||); -inf where r_i = r_j, since a vector cannot keep out its
    own copy.

    Args:
        point: (D,), z.
        right: (I, D); wrong: (J, D).

    Returns:
        (I, J) float64.
    """
    to_right, to_wrong = (cdist(vectors, point[None], "sqeuclidean")[:, 0] for vectors in (right, wrong))
    apart = cdist(right, wrong)
    found = np.full(apart.shape, -np.inf)
    return np.divide(to_wrong[None, :] - to_right[:, None], 2 * apart, out=found, where=apart > 0)


def pair_up(point: np.ndarray, right: np.ndarray, wrong: np.ndarray, nonnegative: bool) -> Pairs | None:
    """For each wrong vector the right one that keeps it out by the largest margin.

    The answer stands where every wrong vector is farther than some right one, each than its own: the margin of the
    answer is min over j of max over i, never less than max over i of min over j, for which one right vector would have
    to be nearer than all wrong ones.

    Args:
        point: (D,), where margins are compared: any choice is valid that does not depend on what is measured of it.
        right: (I, D), I > 0; wrong: (J, D), J > 0.
        nonnegative: embeddings have no negative entries, so that n . h lies within [-||n_-||, ||n_+||], not [-1, 1].

    Returns:
        J pairs, in the order of `wrong`; None where a wrong vector equals every right one and nothing keeps it out.
    """
    found = margins(point, right, wrong)
    if np.isneginf(found.max(axis=0)).any():
        return None
    chosen = right[found.argmax(axis=0)]
    apart, middles = wrong - chosen, (wrong + chosen) / 2
    normals = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    slack = ROUNDING * (1 + np.linalg.norm(middles, axis=1))
    if nonnegative:
        lows = -np.linalg.norm(np.minimum(normals, 0), axis=1)
        highs = np.linalg.norm(np.maximum(normals, 0), axis=1)
    else:
        highs = np.ones(len(normals))
        lows = -highs
    return Pairs(normals, (normals * middles).sum(axis=1) - slack, lows, highs)
