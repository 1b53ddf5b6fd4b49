"""Builds a classifier from the name of its architecture."""

from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from torch import nn

from nndefense.errors import ConfigError
from nndefense.models.architectures import architecture_entry
from nndefense.models.standardize import Standardized


def build_model(
    architecture: str,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int = 0,
    weights: str | None = None,
) -> Standardized:
    """A classifier of images in [0, 1], in eval mode.

    architecture: a key of `nndefense.models.ARCHITECTURES`. classes: number of logits.
    mean, std: per channel, in units of [0, 1] pixels. seed: of the random initial weights.
    weights: name of weights that the library of the network publishes; None for random ones.
    Raises ConfigError for an unknown name and for values out of range.
    """
    if classes < 2:
        raise ConfigError(f"classes {classes}: at least 2 are needed")
    builder = _builder(architecture)
    # The constructors draw from torch's global generator: seed it for them, and leave it as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = builder(architecture, classes, weights)
    keep_pre_relu_values(net)
    model = Standardized(net, mean, std, architecture, classes)
    return model.to(memory_format=torch.channels_last).eval()


def keep_pre_relu_values(net: nn.Module) -> nn.Module:
    """Makes ReLUs write to new tensors; in-place ones turn recorded pre-ReLU values into post-ReLU ones."""
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


def freeze(model: nn.Module) -> nn.Module:
    """The same model in eval mode without parameter gradients: an attack needs those of the images only."""
    return model.eval().requires_grad_(False)


def _builder(architecture: str) -> Callable[[str, int, str | None], nn.Module]:
    module, name = architecture_entry(architecture).split(":")
    return getattr(import_module(module), name)
