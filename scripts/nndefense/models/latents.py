"""Latents of a classifier: the inputs of its last linear layer. One pass gives them together with the logits."""

from typing import Any

from torch import Tensor, nn

from nndefense.core.errors import ConfigError
from nndefense.models.objective import forward


def latents_and_logits(model: Any, images: Tensor, *, autocast: bool = True) -> tuple[Tensor, Tensor]:
    """Latents (B, D) and logits (B, C), float32, of one pass in the mode that the model is in; both have gradients.

    Args:
        model: the classifier; nothing about it changes but what a pass in train mode changes by itself.
        images: (B, 3, H, W) float in [0, 1].
        autocast: on a GPU, compute in bf16, as training does.

    Raises:
        ConfigError: a network without a last linear layer, or where that does not run once in a pass.
    """
    seen: list[Tensor] = []
    _, layer = last_linear(model.net, model.classes)
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        logits = forward(model, images) if autocast else model(images).float()
    finally:
        hook.remove()
    if len(seen) != 1:
        raise ConfigError(f"the last linear layer runs {len(seen)} times in a pass of {model.architecture}; allowed: 1")
    return seen[0].float(), logits


def latents(model: Any, images: Tensor) -> Tensor:
    """Latents (B, D) float32, computed in float32 on all devices, as those of an `Embedding` by its features.

    Arguments and errors as of `latents_and_logits`.
    """
    return latents_and_logits(model, images, autocast=False)[0]


def last_linear(net: nn.Module, classes: int | None) -> tuple[str, nn.Linear]:
    """The last linear layer and its name.

    Raises:
        ConfigError: a network that does not end in a linear layer of `classes` outputs.
    """
    linear = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1][1].out_features != classes:
        raise ConfigError(f"a network that ends in a linear layer of {classes} outputs is needed as the base")
    return linear[-1]
