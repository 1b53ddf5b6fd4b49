"""Mean/std standardisation as a layer inside of the model, so that attacks see pixels in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.errors import ConfigError
from nndefense.models.computing import asked


class Standardized(nn.Module):
    """A classifier of images in [0, 1]: standardisation, then `net`.

    net: takes standardised images (B, 3, H, W), returns logits (B, C).
    mean, std: per channel, in units of [0, 1] pixels; std > 0, else ConfigError.
    architecture, classes: recorded for error messages.
    resize: side in pixels that images are brought to first, by bilinear interpolation; None: they stay as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        architecture: str = "unnamed",
        classes: int | None = None,
        resize: int | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.architecture = architecture
        self.classes = classes
        self.resize = resize
        self.register_buffer("mean", _per_channel(mean, "mean"))
        self.register_buffer("std", _per_channel(std, "std"))
        if not bool((self.std > 0).all()):
            raise ConfigError(f"std {list(std)}: every value must be above 0")

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) float in [0, 1] -> logits (B, C)."""
        if self.resize is not None:
            size = (self.resize, self.resize)
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
        # Convolutions are faster with channels last in memory; the shape stays (B, 3, H, W).
        images = images.contiguous(memory_format=torch.channels_last)
        return asked(self.net, (images - self.mean) / self.std)

    def around(self, net: nn.Module) -> "Standardized":
        """The same standardisation before another network, in eval mode."""
        mean, std = self.mean.flatten(), self.std.flatten()
        found = Standardized(net, mean, std, self.architecture, self.classes, self.resize)
        return found.to(self.mean.device, self.mean.dtype).eval()


def _per_channel(values: Sequence[float] | Tensor, key: str) -> Tensor:
    tensor = torch.tensor(list(values), dtype=torch.float32)
    if tensor.shape != (3,) or not bool(torch.isfinite(tensor).all()):
        raise ConfigError(f"{key} {list(values)}: three finite numbers are needed, one per colour")
    return tensor.view(1, 3, 1, 1)
