"""Certified answers of a smoothed retrieval to images of any origin, by noise that is drawn for them."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nndefense.certificates import CERTIFICATES
from nndefense.certificates.base import Certificate, Gallery
from nndefense.core.errors import ConfigError, InputError
from nndefense.evaluation.guarded import decision_of
from nndefense.models.embedding import Embedding
from nndefense.models.smoothing import noisy_embeddings


@dataclass(frozen=True)
class Answer:
    """What a decision answers to an image, and how far the image may move without changing it.

    Attributes:
        decision: "mean", the label next to the mean embedding, or "vote", of most noisy copies.
        label: -1 where it abstains: nothing proves a radius above 0.
        radius: l2 distance of images in [0, 1], >= 0; infinite where no other answer is possible.
        certificates: the one that proves it; where it abstains, all that were tried.
    """

    decision: str
    label: int
    radius: float
    certificates: tuple[str, ...]


def fresh_seed() -> int:
    """63 bits of the operating system's entropy: noise that nobody could foresee."""
    return secrets.randbits(63)


def certify_images(
    embedding: Embedding,
    images: NDArray | Tensor,
    rows: NDArray[np.int64],
    gallery: Gallery,
    certificates: Sequence[str],
    *,
    sigma: float,
    alpha: float,
    first: int,
    draws: int,
    seed: int,
    batch: int = 250,
    device: str = "cpu",
    on_draws: Callable[[int], None] = lambda count: None,
) -> list[list[Answer]]:
    """Of each image and decision, the answer and the largest radius that one of its certificates proves.

    Where a decision has k certificates, each has a probability of alpha / k to be wrong, so that the largest of their
    radii is too large with one of alpha at most.

    Args:
        embedding: on the device.
        images: uint8 (n, H, W, 3), or float (n, 3, H, W) in [0, 1].
        rows: (n,) ids of the images; their noise is a function of (seed, id).
        gallery: of smoothed vectors, fixed before the noise is drawn.
        certificates: some of CERTIFICATES, at least one.
        sigma: standard deviation of the noise, in units of pixels from 0 to 1, > 0.
        alpha: probability, over the noise, that an answer's radius is too large; within (0, 1).
        first: noisy copies that choose an answer, >= 1.
        draws: further ones, which certify it, >= 2.
        seed: of the noise, unknown to whoever may change the images: `fresh_seed()`, unless answers are reproduced.
        batch: noisy images a forward pass, about.
        device: where the network is.
        on_draws: called with the number of copies that were embedded since.

    Returns:
        For each image an answer of each decision, in the order in which the certificates name them.

    Raises:
        ConfigError: an unknown certificate, or none.
        InputError: an argument out of range.
    """
    decisions = _by_decision(certificates)
    if first < 1 or draws < 2:
        raise InputError(f"first is {first} and draws is {draws}; allowed: first >= 1 and draws >= 2")
    drawn = noisy_embeddings(
        embedding, images, rows, count=first + draws, sigma=sigma, seed=seed, batch=batch, device=device
    )
    answers = []
    for _, parts in groupby(drawn, key=itemgetter(0)):
        blocks = []
        for *_, values in parts:
            blocks.append(values)
            on_draws(len(values))
        copies = np.concatenate(blocks)
        found = {
            name: CERTIFICATES[name].load()(
                copies[:first],
                copies[first:],
                gallery,
                sigma=sigma,
                alpha=alpha / len(own),
                nonnegative=embedding.nonnegative,
            )
            for own in decisions.values()
            for name in own
        }
        answers.append([_largest(decision, {name: found[name] for name in own}) for decision, own in decisions.items()])
    return answers


def _by_decision(certificates: Sequence[str]) -> dict[str, list[str]]:
    """The certificates of each decision. ConfigError for an unknown one, or none."""
    unknown = [name for name in certificates if name not in CERTIFICATES]
    if unknown or not certificates:
        what = f"certificate {unknown[0]!r} is unknown" if unknown else "no certificate is named"
        raise ConfigError(f"{what}; allowed: {', '.join(CERTIFICATES)}")
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(certificates):
        found.setdefault(decision_of(name), []).append(name)
    return found


def _largest(decision: str, found: Mapping[str, Certificate]) -> Answer:
    """The answer by the certificate of the largest radius, the first of these."""
    name, best = max(found.items(), key=lambda item: item[1].radius)
    return Answer(decision, best.label, best.radius, (name,) if best.label >= 0 else tuple(found))
