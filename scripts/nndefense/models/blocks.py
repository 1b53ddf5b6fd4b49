"""How many residual blocks networks have, told by their names; imports no torch."""

import re

_TORCHVISION = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "wide_resnet50_2": (3, 4, 6, 3),
    "wide_resnet101_2": (3, 4, 23, 3),
    "resnext50_32x4d": (3, 4, 6, 3),
    "resnext101_32x8d": (3, 4, 23, 3),
    "resnext101_64x4d": (3, 4, 23, 3),
}
_CIFAR = re.compile(r"cifar_resnet(\d+)")


def blocks_of(architecture: str) -> tuple[int, ...] | None:
    """Blocks of each stage from stage 2 on; none for networks without layers to retrieve by, None where unknown."""
    if found := _CIFAR.fullmatch(architecture):
        return ((int(found[1]) - 2) // 6,) * 3
    return (
        ()
        if architecture.startswith("efficientnet_lite") or architecture == "racnn"
        else _TORCHVISION.get(architecture)
    )
