"""Certificates of nearest-neighbour retrieval: a radius within which no change of an image changes its answer.

CERTIFICATES: for an embedding under Gaussian noise. Each is a function of what it says of one image's noisy copies,

    certify(first, draws, gallery, *, sigma, alpha, nonnegative=False) -> Certificate

    first: (n0, D) embeddings of copies that choose the class, and whatever else must not depend on `draws`; n0 >= 1.
    draws: (n, D) embeddings of other copies; n >= 2. Both ||h|| <= 1, float16 to float64, possibly memory maps.
    gallery: fixed vectors with labels (`base.Gallery`).
    sigma: standard deviation of the noise, in pixels in [0, 1], > 0. No clipping follows the noise.
    alpha: probability, over the noise, that this query's certificate is wrong; within (0, 1).
    nonnegative: embeddings have no negative entries, which allows larger radii.
    Raises InputError for an argument out of range.

The noise must be fresh: drawn for this query, after whoever may change the image has committed to it. All but the vote
certify the label of the gallery's vector next to the exact mean embedding, which a deployment with finitely many copies
answers only up to its own error; the vote certifies what most of all copies answer. Adding one: a file here and a line
in CERTIFICATES.
"""

from nndefense.core.plugins import plugins
from nndefense.core.registry import Entry

CERTIFICATES = {
    "linear": Entry("nndefense.certificates.linear:certify", "A (Lipschitz)"),
    "gaussian": Entry("nndefense.certificates.gaussian:certify", "B (Gaussian)"),
    "cdf": Entry("nndefense.certificates.cdf:certify", "CDF"),
    "vote": Entry("nndefense.certificates.vote:certify", "vote"),
}
CERTIFICATES |= plugins("certificates", CERTIFICATES)
