"""What a training step minimises: a function of the model and a batch, so that defences can bring their own."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Batch:
    """What a step gets.

    inputs: (B, 3, H, W) float32 in [0, 1], augmented. targets: (B,) int64 class indices on the same device.
    rows: (B,) places of the images in the training set. step: number of the step in the whole training, from 0.
    generator: of all random choices in training, on the CPU; drawing from it keeps the training reproducible.
    """

    inputs: Tensor
    targets: Tensor
    rows: NDArray[np.int64]
    step: int
    generator: torch.Generator


# Mean loss of the batch, and logits (B, C) that the reported training accuracy is counted on. The model is in train
# mode, on the batch's device.
Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class CrossEntropy:
    """Plain training. label_smoothing: share of the target's weight that all classes get alike, 0 to 1."""

    label_smoothing: float = 0.0

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = forward(model, batch.inputs)
        return functional.cross_entropy(logits, batch.targets, label_smoothing=self.label_smoothing), logits


def forward(model: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Logits (B, C) float32 of images; computed in bf16 on a GPU."""
    # bf16 is about 20 times slower on CPUs that lack it.
    with torch.autocast("cuda", torch.bfloat16, enabled=inputs.is_cuda):
        logits = model(inputs)
    return logits.float()
