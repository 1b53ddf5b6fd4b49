"""Attacks on the decisions of a retrieval, and what it answers to attacked images."""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nndefense.attacks.metric import Target, attack_retrieval
from nndefense.attacks.region import l2_region
from nndefense.certificates.base import Gallery, nearest_label
from nndefense.core.seeds import derive_seed
from nndefense.evaluation.decisions import decide
from nndefense.evaluation.guarded import open_galleries
from nndefense.models.embedding import Embedding, open_embedding
from nndefense.models.smoothing import noisy_embeddings, smoothed_means


@dataclass(frozen=True, kw_only=True, eq=False)
class Breaker:
    """A decision rule, attacked and asked.

    Attributes:
        embedding: on its device. gallery: that the rule compares with. rule: "base", "mean" or "vote".
        sigma: standard deviation of the noise. steps: of the attack. draws: copies that a gradient is averaged over.
        fresh: draws that an answer is of, at most. seed: of all noise. batch: images a forward pass. device: "cpu" ...
    """

    embedding: Embedding
    gallery: Gallery
    rule: str
    sigma: float
    steps: int
    draws: int
    fresh: int
    seed: int
    batch: int
    device: str

    def attack(self, images: Tensor, labels: np.ndarray, radius: float | np.ndarray, start: Tensor | None) -> Tensor:
        """Images (n, 3, H, W) within an l2 radius, of one number or (n,), that shall no longer be answered `labels`.

        start: as of `attack_retrieval`.
        """
        target = Target(
            self.embedding,
            torch.from_numpy(self.gallery.vectors).float().to(self.device),
            torch.from_numpy(self.gallery.labels.astype(np.int64)).to(self.device),
            self.rule,
            self.sigma,
            self.draws,
        )
        return attack_retrieval(
            target,
            l2_region(images, radius),
            torch.from_numpy(labels.astype(np.int64)).to(self.device),
            steps=self.steps,
            seed=derive_seed(self.seed, "attack", self.rule, float(np.max(radius))),
            start=start,
            batch=self.batch,
        )

    def decided(self, images: Tensor, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Class of each image, and the fresh draws that it is of (1 for the base model), (n,) each."""
        seed = derive_seed(self.seed, "fresh", self.rule)
        common: dict[str, Any] = {"batch": self.batch, "device": self.device, "seed": seed}
        if self.rule == "base":
            found = noisy_embeddings(self.embedding, images.cpu(), rows, count=1, sigma=0.0, **common)
            return nearest_label(smoothed_means(found, len(images)), self.gallery), np.ones(len(images), dtype=int)
        options = {"sigma": self.sigma, "most": self.fresh, **common}
        return decide(self.embedding, images.cpu(), rows, self.gallery, self.rule, **options)

    def answers(self, images: Tensor, rows: np.ndarray) -> np.ndarray:
        """Class of each image, (n,)."""
        return self.decided(images, rows)[0]


def open_breakers(arguments: argparse.Namespace, device: str) -> dict[str, Breaker]:
    """A breaker of each decision rule, by the options of `nndefense.core.command.breaking_options`."""
    embedding = open_embedding(arguments.model, arguments.output, arguments.transform, device)
    base, smoothed, _ = open_galleries(arguments.gallery)
    return {
        rule: Breaker(
            embedding=embedding,
            gallery=gallery,
            rule=rule,
            sigma=arguments.sigma,
            steps=arguments.steps,
            draws=arguments.draws,
            fresh=arguments.fresh,
            seed=derive_seed(arguments.seed, arguments.name),
            batch=arguments.batch,
            device=device,
        )
        for rule, gallery in (("base", base), ("mean", smoothed), ("vote", smoothed))
    }
