"""Training with Gaussian noise: what networks need whose answers are averaged over noise (Cohen et al. 2019, §3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.options import NotNegative, Options
from nndefense.models.objective import Batch, Objective, forward


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Options):
    """Cross-entropy on images with Gaussian noise, drawn anew for every image and step (Cohen et al. 2019).

    Pixels leave [0, 1], as they do where the network is asked.
    """

    noun: ClassVar[str] = "training"

    sigma: Annotated[
        NotNegative, Field(description="Standard deviation of the noise, in units of pixels from 0 to 1.")
    ] = 0.25

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises; it needs no sources."""
        return self._loss

    def _loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = forward(model, with_noise(batch, self.sigma))
        return functional.cross_entropy(logits, batch.targets), logits


def with_noise(batch: Batch, sigma: float) -> Tensor:
    """The batch's images (B, 3, H, W) plus noise of standard deviation sigma, not clipped."""
    noise = torch.randn(batch.inputs.shape, generator=batch.generator).to(batch.inputs)
    return torch.add(batch.inputs, noise, alpha=sigma)
