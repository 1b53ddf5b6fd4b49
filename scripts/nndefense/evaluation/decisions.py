"""Answers of a smoothed retrieval to given images by fresh noise, of as many draws as a decision needs."""

import numpy as np
from torch import Tensor

from nndefense.certificates.base import Gallery, margins, nearest_label, split
from nndefense.certificates.bounds import clopper_pearson_lower, vector_error
from nndefense.core.errors import ConfigError
from nndefense.models.embedding import Embedding
from nndefense.models.smoothing import PART, noisy_embeddings

RULES = ("mean", "vote")
# Chance that more draws would have given another answer, where not all are drawn.
DOUBT = 1e-9
FIRST = 2 * PART


def decide(
    embedding: Embedding,
    images: Tensor,
    rows: np.ndarray,
    gallery: Gallery,
    rule: str,
    *,
    sigma: float,
    seed: int,
    most: int,
    batch: int = 250,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Class of each image, (n,), and the number of draws that it rests on, (n,).

    The number doubles until `most` are drawn or an answer is beyond doubt: the true mean, or the true share of votes,
    would give another with a probability of at most DOUBT.

    Args:
        embedding: as of `noisy_embeddings`. images: (n, 3, H, W) in [0, 1]. rows: (n,) their ids.
        gallery: of smoothed vectors. rule: "mean" or "vote".
        sigma: standard deviation of the noise. seed: of the noise, which no attacker has seen.
        most: draws of an image at most.
        batch, device: as of `noisy_embeddings`.

    Raises:
        ConfigError: another rule.
    """
    if rule not in RULES:
        raise ConfigError(f"rule {rule!r} is unknown; allowed: {', '.join(RULES)}")
    classes, used = np.full(len(images), -1), np.zeros(len(images), dtype=np.int64)
    tallies = [_Tally(gallery, rule) for _ in range(len(images))]
    open_places = np.arange(len(images))
    while len(open_places):
        drawn = int(used[open_places[0]])
        count = min(drawn or FIRST, most - drawn)
        found = noisy_embeddings(
            embedding,
            images[open_places],
            rows[open_places],
            count=count,
            sigma=sigma,
            seed=seed,
            batch=batch,
            device=device,
            first=-(-drawn // PART),
        )
        for place, _, values in found:
            tallies[open_places[place]].add(values.astype(np.float64))
        used[open_places] = drawn + count
        stays = []
        for place in open_places.tolist():
            classes[place], certain = tallies[place].answer()
            if not certain and used[place] < most:
                stays.append(place)
        open_places = np.array(stays, dtype=np.int64)
    return classes, used


class _Tally:
    """What the draws of an image add up to."""

    def __init__(self, gallery: Gallery, rule: str) -> None:
        self.gallery, self.rule = gallery, rule
        self.count, self.total = 0, np.zeros(gallery.vectors.shape[1])
        self.votes = np.zeros(int(gallery.labels.max()) + 1, dtype=np.int64)

    def add(self, embeddings: np.ndarray) -> None:
        """Further draws, (b, D)."""
        self.count += len(embeddings)
        if self.rule == "mean":
            self.total += embeddings.sum(axis=0)
        else:
            self.votes += np.bincount(nearest_label(embeddings, self.gallery), minlength=len(self.votes))

    def answer(self) -> tuple[int, bool]:
        """The class by all draws so far, and whether it is beyond doubt."""
        if self.rule == "vote":
            label = int(self.votes.argmax())
            return label, bool(clopper_pearson_lower(int(self.votes[label]), self.count, DOUBT) > 0.5)
        mean = self.total / self.count
        label = int(nearest_label(mean[None], self.gallery)[0])
        right, wrong = split(label, self.gallery)
        if not len(wrong):
            return label, True
        margin = margins(mean, right, wrong).max(axis=0).min()
        return label, bool(margin > vector_error(float(np.linalg.norm(mean)), self.count, DOUBT))
