"""Adversarial training with cluster terms: the robust network of semantic-dictionary purification (Silva et al. 2022).

Latents of attacked images shall be spread as those of the images were in a network that was not attacked, so that the
nearest cluster of a latent, which chooses the dictionary, is still the image's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.errors import InputError
from nndefense.core.options import Count, NotNegative, Options, Share
from nndefense.defenses.mixed import pgd_images
from nndefense.dictionaries.stored_clusters import members_of, read_clusters
from nndefense.models.latents import latents_and_logits
from nndefense.models.objective import Batch, Objective


@dataclass(frozen=True, eq=False)
class ClusterTargets:
    """How the latents of the training images shall be spread.

    Attributes:
        means: of K clusters, (K, D) finite.
        deviations: standard deviations, (K, D) finite, >= 0.
        members: the cluster of every training image by its place in the training set, (n,) in 0 to K - 1.

    Raises:
        InputError: arrays that do not fit, or values out of range.
    """

    means: NDArray[np.float32]
    deviations: NDArray[np.float32]
    members: NDArray[np.int64]

    def __post_init__(self) -> None:
        means, deviations, members = self.means, self.deviations, self.members
        if means.ndim != 2 or deviations.shape != means.shape or not means.size or members.ndim != 1:
            raise InputError(
                f"clusters have means {means.shape}, deviations {deviations.shape} and members {members.shape}; "
                "needed: (K, D), (K, D) and (n,)"
            )
        if not np.isfinite(means).all() or not np.isfinite(deviations).all() or deviations.min() < 0:
            raise InputError("means and deviations of clusters must be finite, and deviations >= 0")
        if members.size and not 0 <= members.min() <= members.max() < len(means):
            raise InputError(
                f"members of clusters are {members.min()} to {members.max()}; allowed: 0 to {len(means) - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class ClusterTraining(Options):
    """Every batch: the loss of PGD images, plus how far their latents are from where clusters of clean ones are.

    PGD as of `logit_pairing`; the network sees no other images in train mode, and the training accuracy is that of
    PGD images. Latents are the inputs of the last linear layer. A batch's images of a cluster are compared with it
    together, by the squared distances of mean and of standard deviation, see `cluster_loss`. Nothing holds the latents
    of images that are not attacked. Training best starts from the network that the clusters are of (`initial`).
    """

    noun: ClassVar[str] = "training"

    epsilon: Annotated[Share, Field(description="Largest change of a pixel (0 to 1) in training images.")] = 0.03
    attack_steps: Annotated[Count, Field(description="Steps of PGD.")] = 3
    weight: Annotated[
        NotNegative, Field(description="Weight of the distance from the clusters; 0 is adversarial training.")
    ] = 0.3

    def objective(self, sources: Sequence[nn.Module] = (), *, clusters: ClusterTargets) -> Objective:
        """What a step minimises, of a `Standardized`; it needs no sources."""
        return partial(self._loss, clusters)

    @staticmethod
    def read_clusters(path: str, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> ClusterTargets:
        """The clusters of a training set from a file of `write_clusters`.

        Args:
            path: of the file.
            rows: (n,) ids of the training images, in their order.
            labels: (n,) theirs.

        Raises:
            FileFault: a damaged file. InputError: clusters of other images.
        """
        stored = read_clusters(path)
        members = members_of(stored, rows)
        strange = stored.classes[members] != labels
        if strange.any():
            place = int(strange.argmax())
            raise InputError(
                f"image {rows[place]} has label {labels[place]}, and {stored.classes[members[place]]} in {path}: "
                "the clusters are of other images"
            )
        return ClusterTargets(stored.means, stored.deviations, members)

    def _loss(self, clusters: ClusterTargets, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        adversarial = pgd_images(model, batch, self.epsilon, self.attack_steps)
        latents, logits = latents_and_logits(model, adversarial)
        loss = functional.cross_entropy(logits, batch.targets)
        return loss + self.weight * _distance(clusters, latents, batch.rows), logits


def _distance(clusters: ClusterTargets, latents: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """`cluster_loss` of the latents (B, D) of these places in the training set."""
    if clusters.means.shape[1] != latents.shape[1]:
        raise InputError(f"clusters of {clusters.means.shape[1]} dimensions do not fit latents of {latents.shape[1]}")
    if rows.max() >= len(clusters.members):
        raise InputError(f"clusters of {len(clusters.members)} images do not fit a training image {rows.max()}")
    present, groups = np.unique(clusters.members[rows], return_inverse=True)
    means, deviations = (torch.from_numpy(one[present]).to(latents) for one in (clusters.means, clusters.deviations))
    return cluster_loss(latents, torch.from_numpy(groups).to(latents.device), means, deviations)


def cluster_loss(latents: Tensor, groups: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """How far groups of latents are from their clusters, a mean over the groups, each counting by its size.

    Of a group: the squared distance of its mean from the cluster's, plus that of its standard deviation, both means
    over dimensions. The deviation has Bessel's correction, which the cluster's, of many images, does not need; a group
    of one has none, and only the distance of its mean. Neither is 0 for a random part of the cluster: means of n
    scatter by a variance that is 1 / n of the cluster's, so that small groups also draw latents together. The uGuard
    code of Silva et al. compares the whole batch with the cluster of its first image, whichever the others are of.

    Args:
        latents: (B, D).
        groups: the group of each, (B,) in 0 to G - 1, none of which is empty.
        means: of the groups' clusters, (G, D).
        deviations: standard deviations, (G, D).
    """
    # Sums as matrix products, which a GPU does in the same order every time.
    own = (torch.arange(len(means), device=groups.device)[:, None] == groups).to(latents)
    sizes = own.sum(dim=1, keepdim=True)
    centres = own @ latents / sizes
    variances = own @ (latents - own.T @ centres).square() / (sizes - 1).clamp(min=1)
    # The slope of the root is infinite at 0, and 0 times it no number.
    spread = variances > 0
    found = torch.where(spread, torch.where(spread, variances, 1).sqrt(), 0)
    away = (centres - means).square() + (found - deviations).square() * (sizes > 1)
    return (away.mean(dim=1) * sizes[:, 0]).sum() / len(latents)
