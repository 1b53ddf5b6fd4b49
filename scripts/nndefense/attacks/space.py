"""Pixel spaces: where the attack's budget is measured.

Dubey et al. 2019, §3.1 define the normalised l2 distance on [0,1] images ("raw01"); the code of Guo et al.
2018, which they build on, measures it on mean/std-standardised tensors ("standardized"). The same epsilon is
about half as strong in the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nndefense.core.errors import ConfigError, InputError

SPACES = ("raw01", "standardized")


@dataclass(frozen=True)
class PixelSpace:
    """Maps images x in [0,1], shape (B, 3, H, W), to z = (x - shift) / scale.

    name: "raw01" (shift 0, scale 1) or "standardized" (shift `mean`, scale `std`, per channel).
    mean, std: the data set's channel statistics; optional in raw01, where they only serve
    `named("standardized")`. budget_norm: the l2 norm that every budget is a share of; None: each image's own.
    Raises ConfigError for an unknown name, missing or non-positive statistics.
    """

    name: str = "raw01"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    budget_norm: float | None = None

    def __post_init__(self) -> None:
        if self.name not in SPACES:
            raise ConfigError(f"pixel space {self.name!r} is unknown; allowed: {', '.join(SPACES)}")
        if (self.mean is None) != (self.std is None):
            raise ConfigError("pixel space needs both mean and std, or neither")
        if self.name == "standardized" and self.std is None:
            raise ConfigError("pixel space 'standardized' needs the channels' mean and std")
        if self.mean is not None and self.std is not None:
            object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
            object.__setattr__(self, "std", tuple(float(value) for value in self.std))
            if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
                raise ConfigError(f"pixel space needs one std > 0 per mean, got mean={self.mean} std={self.std}")

    def named(self, name: str) -> "PixelSpace":
        """The other space over the same statistics."""
        return PixelSpace(name, self.mean, self.std)

    def _constant(self, values: Sequence[float] | None, default: float, like: Tensor) -> Tensor:
        values = values if values is not None and self.name != "raw01" else (default,) * like.shape[1]
        if len(values) != like.shape[1]:
            raise InputError(f"pixel space has {len(values)} channels, the images have {like.shape[1]}")
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)

    def shift(self, like: Tensor) -> Tensor:
        """Per-channel shift (1, C, 1, 1) in the dtype and on the device of `like`."""
        return self._constant(self.mean, 0.0, like)

    def scale(self, like: Tensor) -> Tensor:
        """Per-channel scale (1, C, 1, 1) in the dtype and on the device of `like`."""
        return self._constant(self.std, 1.0, like)

    def from_images(self, images: Tensor) -> Tensor:
        """z of images in [0,1]; same shape and dtype."""
        if self.name == "raw01":
            return images
        return (images - self.shift(images)) / self.scale(images)

    def to_images(self, z: Tensor) -> Tensor:
        """Images of z, clipped to [0,1]; same shape and dtype."""
        if self.name == "raw01":
            return z.clamp(0.0, 1.0)
        return torch.addcmul(self.shift(z), z, self.scale(z)).clamp_(0.0, 1.0)

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """z of a black and of a white pixel, each (1, C, 1, 1)."""
        black = torch.zeros(1, like.shape[1], 1, 1, dtype=like.dtype, device=like.device)
        return self.from_images(black), self.from_images(black + 1)

    def norms(self, images: Tensor) -> Tensor:
        """l2 norm of z for each image, (B,) float64."""
        return l2_norms(self.from_images(images.double()))

    def delta(self, images: Tensor, adversarial: Tensor) -> Tensor:
        """Normalised l2 distance ||z - z_adv|| / ||z||, (B,) float64 (Dubey et al. 2019, §3.1).

        0 for an unchanged image, also where ||z|| = 0; infinite where an all-zero z was changed.
        """
        distance = l2_norms((adversarial.double() - images.double()) / self.scale(images.double()))
        return torch.where(distance == 0, distance, distance / self.norms(images))


def l2_norms(tensor: Tensor) -> Tensor:
    """l2 norm over all but the first axis, (B,), in the tensor's dtype."""
    return torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.ndim)))
