"""Attacks with an l-infinity budget on [0,1] pixels, as trainers and retrieval-augmented networks use them.

Fast gradient sign (Goodfellow et al. 2015), its randomised form (Tramèr et al. 2018, R+FGSM), the iterated form
(Kurakin et al. 2017), and with a random start PGD (Madry et al. 2018). All raise the summed cross-entropy, whose
gradient for an image does not depend on the rest of the batch (but for batch statistics of a model in train mode).

The model is any callable from images (B, C, H, W) to logits (B, classes). Its mode and the `requires_grad` of its
weights stay as they are: in train mode each forward pass updates running statistics as always. A gradient that is
not a number counts as 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from nndefense.attacks.base import check_integer, check_not_negative

Model = Callable[[Tensor], Tensor]


def fgsm_linf(model: Model, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """clip(x + epsilon * sign of the loss gradient), (B, C, H, W), detached.

    images: (B, C, H, W) float in [0,1]; labels: (B,) integer; epsilon: largest change of a pixel. epsilon 0 returns
    the images bit-exactly and runs no pass. Raises ConfigError for an epsilon below 0 or not finite.
    """
    return ifgsm_linf(model, images, labels, epsilon, 1)


def random_fgsm_linf(
    model: Model, images: Tensor, labels: Tensor, epsilon: float, generator: torch.Generator
) -> Tensor:
    """R+FGSM: half the budget as random signs, then the gradient step with the other half, (B, C, H, W), detached.

    generator: on the CPU, so that every device sees the same signs; epsilon 0 draws nothing. Otherwise as `fgsm_linf`.
    """
    _check_epsilon(epsilon)
    if epsilon == 0:
        return images.detach().clone()
    images = images.detach()
    signs = torch.randint(0, 2, images.shape, generator=generator, dtype=torch.int8).mul_(2).sub_(1)
    start = torch.add(images, signs.to(images.device, images.dtype), alpha=epsilon / 2).clamp_(0, 1)
    return ifgsm_linf(model, images, labels, epsilon, 1, step=epsilon / 2, start=start)


def ifgsm_linf(
    model: Model,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    steps: int,
    step: float | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """`steps` sign steps, each projected on the l-infinity ball of radius epsilon and on [0,1], detached.

    step: length of one, epsilon / steps if None. start: where to begin, the images if None; projected, too. With
    `start=random_start(...)` and `step=2.5 * epsilon / steps` it is PGD. No pixel is further than epsilon from its
    image beyond float rounding (below 1e-6). Costs one forward and one input-only backward pass a step. Otherwise as
    `fgsm_linf`; raises ConfigError for fewer than one step or a negative step, too.
    """
    _check_epsilon(epsilon)
    check_integer("steps", steps, 1)
    step = epsilon / steps if step is None else step
    check_not_negative("step", step)
    images = images.detach()
    if epsilon == 0:
        return images.clone()
    low, high = (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1)
    adversarial = images if start is None else start.detach().clamp(low, high)
    for _ in range(steps):
        signs = loss_gradient(model, adversarial, labels).sign_()
        adversarial = torch.add(adversarial, signs, alpha=step).clamp_(low, high)
    return adversarial


def random_start(images: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """A point uniform in the l-infinity ball around each image, clipped to [0,1]; same shape, dtype and device.

    generator: on the CPU, so that every device sees the same points; epsilon 0 draws nothing.
    """
    _check_epsilon(epsilon)
    images = images.detach()
    if epsilon == 0:
        return images.clone()
    offsets = torch.rand(images.shape, generator=generator, dtype=torch.float32).mul_(2).sub_(1)
    return torch.add(images, offsets.to(images.device, images.dtype), alpha=epsilon).clamp_(0, 1)


def loss_gradient(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the summed cross-entropy by the images, detached; 0 where it is not a number."""
    with torch.enable_grad():
        leaf = images.detach().requires_grad_(True)
        loss = functional.cross_entropy(model(leaf).float(), labels.to(images.device, torch.int64), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient.nan_to_num_(nan=0.0)


def _check_epsilon(epsilon: float) -> None:
    check_not_negative("epsilon", epsilon)
