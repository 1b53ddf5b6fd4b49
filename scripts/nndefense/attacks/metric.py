"""Attacks on nearest-neighbour retrieval: away from the right vectors of the gallery, towards the wrong ones.

On the base model PGD on the distance from a bisector; on the smoothed one the same through averages over fresh noise
(expectation over transformation, Athalye et al. 2018). In any ball.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nndefense.attacks.region import L2Region, LinfRegion
from nndefense.core.errors import ConfigError

Embed = Callable[[Tensor], Tensor]
RULES = ("base", "mean", "vote")
# Of step lengths, which fall to 0: together 2.5 times the radius (Madry et al. 2018), or a little more.
SCALE = 2.5
# Distance from the bisector at which a copy has half a vote.
SOFT = 0.05
# Shorter than any distance of two vectors that differ.
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked.

    Attributes:
        embed: images (B, 3, H, W) -> embeddings (B, d), differentiable.
        vectors: (G, d) of the gallery. labels: (G,) int64.
        rule: "base", the vector next to the image's embedding; "mean", next to the mean of its noisy copies'
            embeddings; "vote", next to most of them.
        sigma: standard deviation of the noise. draws: copies that a gradient is averaged over.
    """

    embed: Embed
    vectors: Tensor
    labels: Tensor
    rule: str
    sigma: float = 0.0
    draws: int = 1

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"rule {self.rule!r} is unknown; allowed: {', '.join(RULES)}")

    def loss(self, images: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
        """How far beyond the bisector of the nearest right and the nearest wrong vector, (B,); > 0: broken.

        Of the vote, the mean over copies of a soft sign of that, which has a slope where all copies agree.

        images: (B, 3, H, W). labels: (B,), of right vectors. noise: on the CPU, where copies' noise is drawn from.
        """
        if self.rule == "base":
            return beyond_bisector(self.embed(images), labels, self.vectors, self.labels)
        shape = (len(images), self.draws, *images.shape[1:])
        copies = images.unsqueeze(1) + self.sigma * torch.randn(shape, generator=noise).to(images)
        found = self.embed(copies.flatten(0, 1)).view(len(images), self.draws, -1)
        if self.rule == "mean":
            return beyond_bisector(found.mean(dim=1), labels, self.vectors, self.labels)
        each = beyond_bisector(found.flatten(0, 1), labels.repeat_interleave(self.draws), self.vectors, self.labels)
        return functional.softsign(each / SOFT).view(len(images), self.draws).mean(dim=1)


def beyond_bisector(points: Tensor, labels: Tensor, vectors: Tensor, owners: Tensor) -> Tensor:
    """Signed distance from the bisector of the nearest right and the nearest wrong vector, (B,); > 0 on the wrong side.

    (||p - right||^2 - ||p - wrong||^2) / (2 ||right - wrong||). The difference of the two distances has the same sign
    and no slope behind the right vector, on the line from the wrong one.

    Args:
        points: (B, d).
        labels: (B,) what is right.
        vectors: (G, d), of labels `owners` (G,). Where none is right it is 1, where none is wrong -1, without a slope.
    """
    # Squared distances but for ||p||^2, which both have.
    squares = (vectors**2).sum(dim=1) - 2 * points @ vectors.T
    right = owners[None, :] == labels[:, None]
    ours, other = (squares.masked_fill(~side, torch.inf).min(dim=1) for side in (right, ~right))
    apart = (vectors[ours.indices] - vectors[other.indices]).norm(dim=1).clamp(min=TINY)
    return torch.nan_to_num((ours.values - other.values) / (2 * apart), posinf=1.0, neginf=-1.0)


def attack_retrieval(
    target: Target,
    region: L2Region | LinfRegion,
    labels: Tensor,
    *,
    steps: int,
    seed: int,
    start: Tensor | None = None,
    batch: int = 250,
) -> Tensor:
    """Images of a region that the retrieval finds wrong neighbours for, as far as steps along the gradient lead.

    Args:
        target: what is attacked.
        region: of B images; l2 steps in l2 balls, sign steps in l-infinity ones.
        labels: (B,) int64, what is right of them.
        steps: gradient steps.
        seed: of the attacker's noise.
        start: (B, 3, H, W) images to start from, e.g. of a smaller radius; None: the clean ones.
        batch: noisy copies a forward pass, about.

    Returns:
        (B, 3, H, W) float32, within the region: of the base model the point of the largest loss, else the last one.
    """
    noise = torch.Generator().manual_seed(seed % (1 << 63))
    size = max(1, batch // (target.draws if target.rule != "base" else 1))
    everything = torch.arange(len(labels), device=labels.device)
    found = []
    for own in everything.split(size):
        begin = None if start is None else start[own]
        found.append(_climb(target, region.at(own), labels[own], steps, noise, begin))
    return torch.cat(found)


def _climb(
    target: Target,
    region: L2Region | LinfRegion,
    labels: Tensor,
    steps: int,
    noise: torch.Generator,
    start: Tensor | None,
) -> Tensor:
    z = region.center.clone() if start is None else region.project(region.from_images(start))
    best, largest = z, torch.full((len(z),), -torch.inf, device=z.device)
    direction = "l2" if isinstance(region, L2Region) else "sign"
    exact = target.rule == "base"
    for step in range(steps + exact):
        point = region.to_images(z).detach().requires_grad_()
        loss = target.loss(point, labels, noise)
        better = loss.detach() > largest
        largest = torch.where(better, loss.detach(), largest)
        best = torch.where(better.view(-1, 1, 1, 1), z, best)
        if step < steps:
            (gradient,) = torch.autograd.grad(loss.sum(), point)
            length = region.length(2 * SCALE, steps) * (1 - step / steps)
            z = region.project(region.step(z, region.to_gradient(gradient), length, direction)).detach()
    # Losses by different noise do not tell which point is the best; steps that get shorter end near one.
    return region.finished(best if exact else z)
