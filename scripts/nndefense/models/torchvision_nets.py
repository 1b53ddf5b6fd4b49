"""torchvision's ResNets, wide ResNets and ResNeXts by name (He et al. 2016; Dubey et al. 2019, §5.1)."""

from torch import nn

from nndefense.core.errors import ConfigError


def build(architecture: str, classes: int, weights: str | None = None) -> nn.Module:
    """A torchvision network with `classes` outputs.

    weights: name of torchvision's published weights, such as IMAGENET1K_V1 (downloaded by torchvision into
    its cache), or None for random ones.
    Raises ConfigError for unknown weights and for those of other classes.
    """
    # Costs seconds, so it is paid only by those who build such a network.
    from torchvision import models

    if weights is None:
        return models.get_model(architecture, num_classes=classes)
    published = models.get_model_weights(architecture)
    if weights not in published.__members__:
        raise ConfigError(
            f"weights {weights!r}: unknown for {architecture}; allowed: {', '.join(published.__members__)}"
        )
    count = len(published[weights].meta["categories"])
    if count != classes:
        raise ConfigError(f"weights {weights!r} of {architecture} have {count} classes, not {classes}")
    return models.get_model(architecture, weights=published[weights])
