"""Metric learning: networks whose outputs are embeddings, near each other for images of one class or identity.

Losses and miners are those of pytorch-metric-learning.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import NotNegative, Options
from nndefense.models.gaussian_noise import with_noise
from nndefense.models.objective import Batch, Objective, forward

LOSSES = {
    "margin": "MarginLoss",
    "triplet": "TripletMarginLoss",
    "contrastive": "ContrastiveLoss",
    "multi_similarity": "MultiSimilarityLoss",
    "sup_con": "SupConLoss",
}
# Below any cosine: classes of which a batch holds no other image.
ABSENT = -2.0


@dataclass(frozen=True, kw_only=True)
class MetricLearning(Options):
    """The network's outputs, scaled to norm 1, as an embedding: noisy images of one class shall be near each other.

    RetrievalGuard (Wu et al. 2022) uses the margin loss (Wu et al. 2017) with a boundary of 1.2, a margin of 0.2, and
    128 dimensions. The training accuracy is the share of images whose nearest other one of the batch is of their class.
    """

    noun: ClassVar[str] = "training"

    dimensions: Annotated[int, Field(ge=2, description="Dimensions of the embedding.")] = 128
    loss: Annotated[
        Literal["margin", "triplet", "contrastive", "multi_similarity", "sup_con"],
        Field(description="The loss, of pytorch-metric-learning."),
    ] = "margin"
    loss_options: Annotated[
        Mapping[str, float] | None,
        Field(description="Options of the loss by the library's names, e.g. `margin` and `beta` of the margin loss."),
    ] = None
    miner: Annotated[
        Literal["none", "distance_weighted"],
        Field(description="Which pairs of a batch count: all, or drawn by their distance (Wu et al. 2017)."),
    ] = "none"
    per_class: Annotated[int, Field(ge=2, description="Images of each class in a batch, at least.")] = 4
    sigma: Annotated[
        NotNegative, Field(description="Standard deviation of the images' noise, in units of pixels from 0 to 1.")
    ] = 0.25

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises; it needs no sources. ConfigError for an option that the loss does not have."""
        from pytorch_metric_learning import losses, miners

        make = getattr(losses, LOSSES[self.loss])
        allowed = [one.name for one in signature(make).parameters.values() if type(one.default) in (float, int)]
        for name in self.loss_options or {}:
            if name not in allowed:
                raise ConfigError(
                    f"training option loss_options: {name!r} of {self.loss}; allowed: {', '.join(allowed)}"
                )
        loss = make(**(self.loss_options or {}))
        miner = miners.DistanceWeightedMiner() if self.miner == "distance_weighted" else None

        def minimised(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            embeddings = functional.normalize(forward(model, with_noise(batch, self.sigma)), dim=1)
            pairs = None if miner is None else _mined(miner, embeddings, batch)
            return loss(embeddings, batch.targets, pairs), nearest_others(embeddings.detach(), batch.targets)

        return minimised

    def batches(self, labels: NDArray[np.int64]) -> Callable[[int, int, torch.Generator], Iterator[NDArray[np.int64]]]:
        """Batches with several images of each of their classes, for `nndefense.models.train.train`."""
        return class_batches(labels, self.per_class)


def _mined(miner: Any, embeddings: Tensor, batch: Batch) -> Any:
    """The pairs that the miner draws; it draws from torch's global generator, which stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(1 << 31, (), generator=batch.generator)))
        return miner(embeddings.detach(), batch.targets)


def nearest_others(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Largest cosine (B, C) with another image of each class in the batch; below -1 where there is none.

    embeddings: (B, D) of norm 1. targets: (B,) in 0..C-1.
    """
    cosines = (embeddings @ embeddings.T).fill_diagonal_(ABSENT)
    found = torch.full((len(targets), int(targets.max()) + 1), ABSENT, device=cosines.device)
    return found.scatter_reduce_(1, targets.expand(len(targets), -1), cosines, "amax")


def class_batches(
    labels: NDArray[np.int64], per_class: int
) -> Callable[[int, int, torch.Generator], Iterator[NDArray[np.int64]]]:
    """Batches of at least `per_class` images of each of some classes, as many as fit, and of each alike but for one.

    labels: (n,) of the training images. An epoch has as many batches as images fill; the images of a class come in
    random order, each once before any comes again.
    Raises InputError for images of one class; the batches ConfigError where they are too small for two classes.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if len(members) < 2:
        raise InputError(f"metric learning: all {len(labels)} images are of one class; at least two are needed")

    def batches(count: int, size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
        classes = min(len(members), size // per_class)
        if classes < 2:
            raise ConfigError(
                f"training option per_class is {per_class}; allowed in a batch of {size}: 2 to {size // 2}"
            )
        queues = [_cycle(rows, generator) for rows in members]
        for _ in range(count // size):
            chosen = torch.randperm(len(members), generator=generator)[:classes].tolist()
            shares = [size // classes + (place < size % classes) for place in range(classes)]
            rows = [next(queues[one]) for one, share in zip(chosen, shares, strict=True) for _ in range(share)]
            yield np.array(rows, dtype=np.int64)

    return batches


def _cycle(rows: NDArray[np.int64], generator: torch.Generator) -> Iterator[int]:
    while True:
        yield from rows[torch.randperm(len(rows), generator=generator).numpy()].tolist()
