"""Mixed adversarial training: every step sees the images and adversarial images made from them (Kurakin et al. 2017).

What the ways to train of this package have in common. Adversarial images of training lie within an l-infinity ball.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from nndefense.attacks.base import cross_entropy, gradient_of
from nndefense.attacks.region import LinfRegion
from nndefense.models.objective import Batch, Objective, forward

Model = Callable[[Tensor], Tensor]
# Length of all steps of PGD together, in units of the ball's radius (Madry et al. 2018).
STEP_SCALE = 2.5


class Training(Protocol):
    """A way to train: a frozen dataclass of options that makes the objective."""

    def objective(self, sources: Sequence[nn.Module] = ()) -> Objective:
        """What a step minimises. sources: frozen models in eval mode, on the device that the model is trained on."""


@contextmanager
def crafting(model: nn.Module) -> Iterator[Model]:
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


def sign_steps(
    model: Model,
    images: Tensor,
    targets: Tensor,
    epsilon: float,
    *,
    step: float,
    steps: int = 1,
    start: Tensor | None = None,
) -> Tensor:
    """Sign steps up the loss, each projected on the l-infinity ball and on [0, 1]: (B, C, H, W), detached.

    The model's mode and the `requires_grad` of its weights stay as they are.

    Args:
        model: images (B, C, H, W) -> logits (B, classes).
        images: (B, C, H, W) float in [0, 1].
        targets: (B,) integer.
        epsilon: largest change of a pixel, >= 0; 0 returns the images bit-exactly and runs no pass.
        step: length of one.
        steps: their number.
        start: where to begin, the images if None; projected, too.
    """
    if epsilon == 0:
        return images.detach().clone()
    region = LinfRegion(images, epsilon)
    adversarial = region.center if start is None else region.project(start.detach())
    for _ in range(steps):
        gradient = gradient_of(lambda points: cross_entropy(model(points), targets), adversarial)
        adversarial = region.project(region.step(adversarial, gradient, step))
    return adversarial


def pgd_images(model: nn.Module, batch: Batch, epsilon: float, steps: int) -> Tensor:
    """Images of a batch attacked by PGD from a random point of the ball, by the network as it is in eval mode.

    Args:
        model: the network in training.
        batch: its images, targets, and the generator of random points.
        epsilon: largest change of a pixel, >= 0.
        steps: sign steps, each `STEP_SCALE * epsilon / steps` long.
    """
    start = random_point(batch.inputs, epsilon, batch.generator) if epsilon > 0 else None
    step = STEP_SCALE * epsilon / steps
    with crafting(model) as own:
        return sign_steps(own, batch.inputs, batch.targets, epsilon, step=step, steps=steps, start=start)


def random_signs(images: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """Every pixel epsilon up or down by chance, clipped to [0, 1]: the first half of R+FGSM (Tramèr et al. 2018).

    generator: on the CPU, so that every device sees the same signs.
    """
    signs = torch.randint(0, 2, images.shape, generator=generator, dtype=torch.int8).mul_(2).sub_(1)
    return torch.add(images.detach(), signs.to(images.device, images.dtype), alpha=epsilon).clamp_(0, 1)


def random_point(images: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """A point uniform in the l-infinity ball around each image, clipped to [0, 1]; generator as of `random_signs`."""
    offsets = torch.rand(images.shape, generator=generator, dtype=torch.float32).mul_(2).sub_(1)
    return torch.add(images.detach(), offsets.to(images.device, images.dtype), alpha=epsilon).clamp_(0, 1)
