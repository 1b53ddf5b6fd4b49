"""Builds a classifier from the name of its architecture."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import nn

from nndefense.core.errors import ConfigError
from nndefense.models.architectures import architecture_entry
from nndefense.models.fold import Network, fold_batch_norms
from nndefense.models.standardize import Standardized


def build_model(
    architecture: str,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    seed: int = 0,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    resize: int | None = None,
) -> Standardized:
    """A classifier of images in [0, 1], in eval mode.

    architecture: a key of `nndefense.models.ARCHITECTURES`. classes: number of logits, 0 for an encoder without any.
    mean, std: per channel, in units of [0, 1] pixels. seed: of the random initial weights.
    weights: name of weights that the library of the network publishes; None for random ones.
    options: of an architecture that has some, such as `racnn`.
    resize: side in pixels that images are brought to first; None: they stay as they are.
    Raises ConfigError for an unknown name and for values out of range.
    """
    if classes < 2 and classes != 0:
        raise ConfigError(f"classes {classes}: at least 2 are needed, or 0 for an encoder")
    # The constructors draw from torch's global generator: seed it for them, and leave it as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build_network(architecture, classes, weights, options)
    keep_pre_relu_values(net)
    model = Standardized(net, mean, std, architecture, classes, resize)
    return model.to(memory_format=torch.channels_last).eval()


def keep_pre_relu_values(net: nn.Module) -> nn.Module:
    """Makes activations write to new tensors; in-place ReLUs turn recorded pre-ReLU values into post-ReLU ones."""
    module: Any
    for module in net.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False
    return net


def freeze(model: Network) -> Network:
    """A copy to attack or to classify with: in eval mode, batch norms folded, no parameter asking for its gradient."""
    return fold_batch_norms(model.eval()).requires_grad_(False)


def build_network(
    architecture: str, classes: int, weights: str | None = None, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """The bare network of standardised images, its weights drawn from torch's global generator.

    Arguments as of `build_model`. Raises ConfigError for an unknown name.
    """
    module, name = architecture_entry(architecture).split(":")
    return getattr(import_module(module), name)(architecture, classes, weights, **(options or {}))
