"""The deployed defence as a network for other libraries, and its neighbours.

defended = nndefense.load("results")
logits = defended(images)               # images (B, 3, H, W) in [0, 1]
defended.neighbors(images)
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nndefense.defenses.base import Bound
from nndefense.defenses.deployed import Deployed, open_deployed, read_deployed
from nndefense.defenses.neighbors import Neighbors
from nndefense.images.base import Batch
from nndefense.images.pool import PoolReader
from nndefense.retrieval.votes import keep_winner


def load(place: str | Path = "results", device: str = "cpu") -> "DefendedNetwork":
    """The nearest-neighbour defence of a finished run.

    Args:
        place: the folder of results that holds `knn.json`, or that file.
        device: of the network, "cpu" or "cuda".

    Raises:
        FileFault: a file is absent, damaged, or does not belong to the others; it is named.
    """
    deployed = read_deployed(place)
    return DefendedNetwork(open_deployed(deployed, device), deployed)


class DefendedNetwork(nn.Module):
    """A defence as a module from images in [0, 1] to logits (B, C), always in eval mode.

    Without a gradient to compute, the logits are the logarithms of the deployed defence's probabilities (at least
    -87.3, since a logarithm of 0 is of no use to a loss). Where gradients are on and the images require one, both the
    logits and their gradient are those of the defence's surrogate: near the exact ones, not equal to them. So an attack
    must be scored without gradients. Images may be of any memory format; gradients are contiguous.

    Args:
        bound: a deployed defence.
        deployed: what a defence on disk consists of.
        draws: of the surrogate, where the defence is random.
        seed: of what is random; an image's place in the batch is its row.
    """

    def __init__(self, bound: Bound, deployed: Deployed | None = None, *, draws: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.model = bound.model
        self.bound, self.draws, self.seed = bound, draws, seed
        self.deployed: Any = deployed
        super().train(False)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "DefendedNetwork":
        """Stays in eval mode, whatever the mode."""
        return self

    @property
    def class_names(self) -> Sequence[str]:
        """The names that classes index."""
        return self.deployed.class_names

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float32 in [0, 1] -> logits (B, C). InputError for other images."""
        rows = torch.arange(len(images))
        if torch.is_grad_enabled() and images.requires_grad:
            shown = _ContiguousGradient.apply(images)
            return self.bound.surrogate(shown, rows=rows, seed=self.seed, draws=self.draws)
        shares = self.bound.probabilities(images, rows=rows, seed=self.seed)
        logits = shares.clamp_min(torch.finfo(shares.dtype).tiny).log().cpu().numpy()
        # A logarithm may round two shares to one number.
        logits = keep_winner(logits, shares.argmax(dim=1).cpu().numpy())
        return torch.from_numpy(logits).to(images.device)

    def neighbors(self, images: Tensor) -> Neighbors:
        """The database images that vote on images (B, 3, H, W) float32 in [0, 1], nearest first."""
        bound: Any = self.bound
        return bound.neighbors(images)

    @cached_property
    def _pool(self) -> PoolReader:
        return PoolReader.open(self.deployed.pool, self.deployed.sets)

    def database_images(self, ids: np.ndarray) -> Batch:
        """Database images by their ids (n,), uint8 (n, H, W, 3), as `neighbors` names them.

        Raises:
            InputError, FileFault: an image set is not there, or has changed.
        """
        return self._pool.read(ids)


class _ContiguousGradient(torch.autograd.Function):
    """The images as they are, with a contiguous gradient: libraries call `.view` on it."""

    @staticmethod
    def forward(context: object, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient.contiguous()
