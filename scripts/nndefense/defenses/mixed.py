"""Mixed adversarial training: every step sees the images and adversarial images made from them (Kurakin et al. 2017).

What the ways to train of this package have in common.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from nndefense.models.objective import Objective, forward


class Training(Protocol):
    """A way to train: a frozen dataclass of options that makes the objective."""

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises. sources: frozen models in eval mode, on the device that the model is trained on."""


@contextmanager
def crafting(model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """The model as a function of images that adversarial images are made with: in eval mode, as it was afterwards.

    In train mode every pass of an attack would move the running statistics of its batch norms towards half-made
    adversarial images, and an image's gradient would depend on the other images of the batch. The code of Kannan et
    al. does the same.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield partial(forward, model)
    finally:
        for module, training in modes:
            module.training = training


def mixed_loss(model: nn.Module, inputs: Tensor, adversarial: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Half the cross-entropy of the images plus half that of their adversarial ones; logits (B, C) of each.

    One pass over both, so that batch norms see the mixture that their running statistics describe.
    """
    clean, attacked = forward(model, torch.cat([inputs, adversarial])).chunk(2)
    loss = 0.5 * functional.cross_entropy(clean, targets) + 0.5 * functional.cross_entropy(attacked, targets)
    return loss, clean, attacked
