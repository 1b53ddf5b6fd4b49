"""ResNets for 32-pixel images (He et al. 2016, §4.2): depth 6n+2, three stages of n blocks."""

import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.errors import ConfigError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and an option-A shortcut: subsampled, with zeros for the added channels."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.stride = stride
        self.added = channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels, H/stride, W/stride)."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(residual + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and self.added == 0:
            return x
        before = self.added // 2
        sampled = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(sampled, (0, 0, 0, 0, before, self.added - before))


class CifarResNet(nn.Module):
    """3x3 stem, three stages of `blocks` blocks with 16, 32, 64 channels, global average, linear layer.

    State-dict keys are conv1, bn1, layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}, linear.
    """

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Standardised images (B, 3, H, W) -> logits (B, classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def build(architecture: str, classes: int, weights: str | None = None) -> CifarResNet:
    """A `CifarResNet` for a name such as `cifar_resnet20`.

    Raises ConfigError for a depth other than 6n+2, and for `weights`: none are published by name.
    """
    found = re.fullmatch(r"cifar_resnet(\d+)", architecture)
    depth = int(found.group(1)) if found else 0
    if depth < 8 or depth % 6 != 2:
        raise ConfigError(f"architecture {architecture!r}: the depth must be 6n+2, such as 8, 14, 20, 32, 56 or 110")
    if weights is not None:
        raise ConfigError(f"weights {weights!r}: {architecture} has no weights by name; give a file or train it")
    return CifarResNet((depth - 2) // 6, classes)
