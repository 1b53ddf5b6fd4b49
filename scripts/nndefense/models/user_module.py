"""A network of the user's: `module/my_package.nets:build`, a function or class that can be imported."""

from importlib import import_module

from torch import nn

from nndefense.core.errors import ConfigError


def build(architecture: str, classes: int, weights: str | None = None) -> nn.Module:
    """What the function or class returns; it is called with `classes`, 0 for a network without logits.

    Args:
        architecture: `module/` and the module and name in it, with a colon between. Python must find the module:
            installed, or in a folder of PYTHONPATH.
        classes: number of logits.
        weights: must be None; they are read from a file.

    Raises ConfigError for what cannot be imported or is no network, and for `weights`.
    """
    place, _, name = architecture.partition("/")[2].partition(":")
    if weights is not None:
        raise ConfigError(f"weights {weights!r}: {architecture} has no weights by name; give a file")
    try:
        found = getattr(import_module(place), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"architecture {architecture!r}: {error}; allowed: module/PACKAGE.MODULE:NAME of a module on PYTHONPATH"
        ) from error
    net = found(classes=classes)
    if not isinstance(net, nn.Module):
        raise ConfigError(f"architecture {architecture!r}: gives a {type(net).__name__}; allowed: a torch.nn.Module")
    return net
