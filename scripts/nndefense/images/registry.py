"""Opening an image set by the name of its kind."""

import importlib
import inspect

from nndefense.errors import ConfigError
from nndefense.images import KINDS
from nndefense.images.base import ImageSet


def open_image_set(kind: str, **options: object) -> ImageSet:
    """Open the image set `kind` (a key of `nndefense.images.KINDS`) with its constructor's options.

    Raises:
        ConfigError: an unknown kind, an unknown or missing option, or a value out of range.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown image set kind {kind!r}; allowed: {', '.join(KINDS)}")
    module, name = KINDS[kind].split(":")
    cls = getattr(importlib.import_module(module), name)
    parameters = inspect.signature(cls).parameters
    unknown = sorted(set(options) - set(parameters))
    if unknown:
        raise ConfigError(f"image set {kind!r} has no option {unknown[0]!r}; allowed: {', '.join(parameters)}")
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.name not in options]
    if missing:
        raise ConfigError(f"image set {kind!r} needs the option {missing[0]!r}")
    return cls(**options)
