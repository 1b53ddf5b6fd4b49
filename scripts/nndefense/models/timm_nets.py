"""Networks of timm by name: `timm/vit_small_patch14_dinov2`, `timm/convnext_tiny` and a thousand others."""

from contextlib import nullcontext
from typing import Any

from torch import nn

from nndefense.core.errors import ConfigError
from nndefense.models.published import ENCODERS, fetching


def build(architecture: str, classes: int, weights: str | None = None) -> nn.Module:
    """A timm network, for images of any size where it can take them.

    Args:
        architecture: `timm/` and timm's name.
        classes: number of logits; 0 for none: the network gives its pooled features.
        weights: tag of timm's published weights, such as `augreg_in21k_ft_in1k`, or `default`; None for random ones.

    Raises ConfigError for an unknown name or tag, and if timm is not installed; FileFault where weights cannot be
    fetched.
    """
    name = architecture.partition("/")[2]
    try:
        # Costs seconds, so it is paid only by those who build such a network.
        import timm
    except ImportError as error:
        raise ConfigError(f"architecture {architecture!r}: needs timm; install {ENCODERS}") from error
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.partition('_')[0]}*")[:8])
        raise ConfigError(f"architecture {architecture!r}: timm has no {name!r}; allowed: {near or 'its own names'}")
    tags = timm.list_pretrained(f"{name}.*") if weights else []
    if weights not in (None, "default") and f"{name}.{weights}" not in tags:
        known = ", ".join(["default", *(tag.partition(".")[2] for tag in tags)])
        raise ConfigError(f"weights {weights!r}: unknown for {architecture}; allowed: {known}")
    full = name if weights in (None, "default") else f"{name}.{weights}"
    with fetching("timm", full) if weights else nullcontext():
        return _create(timm, full, pretrained=weights is not None, num_classes=classes)


def _create(timm: Any, name: str, **options: Any) -> nn.Module:
    try:
        # Transformers then interpolate their positions to other sizes of images than they were made for.
        return timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:
        return timm.create_model(name, **options)
