"""Self-supervised training: an encoder that sees no labels (SimCLR, Chen et al. 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.options import NotNegative, Options, Positive, Share
from nndefense.models.metric_learning import nearest_others
from nndefense.models.objective import Batch, Objective, forward
from nndefense.models.views import random_views


@dataclass(frozen=True, kw_only=True)
class SelfSupervised(Options):
    """SimCLR: of all images of a batch, two views of one shall be nearest (Chen et al. 2020); labels are not looked at.

    The last layer projects the features to where views are compared; as an encoder the layers before it are used. The
    training accuracy is the share of images whose nearest other one of the batch is of their class.
    """

    noun: ClassVar[str] = "training"

    dimensions: Annotated[int, Field(ge=2, description="Dimensions of the projection.")] = 128
    temperature: Annotated[Positive, Field(description="Of the softmax over the other images of a batch.")] = 0.5
    area: Annotated[Share, Field(description="The smallest share of an image that a view shows.")] = 0.2
    jitter: Annotated[NotNegative, Field(description="Largest change of brightness, contrast and saturation.")] = 0.4
    grey: Annotated[Share, Field(description="Share of the views without colour.")] = 0.2

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises; it needs no sources."""
        from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

        loss = SelfSupervisedLoss(NTXentLoss(temperature=self.temperature))

        def minimised(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            views = [self._view(batch) for _ in range(2)]
            # Together, as batch norms tell the images of a batch apart by their statistics.
            found = functional.normalize(forward(model, torch.cat(views)), dim=1)
            first, second = found.chunk(2)
            return loss(first, second), nearest_others(first.detach(), batch.targets)

        return minimised

    def _view(self, batch: Batch) -> Tensor:
        return random_views(batch.inputs, batch.generator, area=self.area, jitter=self.jitter, grey=self.grey)
