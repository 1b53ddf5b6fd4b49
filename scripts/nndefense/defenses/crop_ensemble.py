"""Crop ensemble (Guo et al. 2018, §3.2, as used by Dubey et al. 2019, Table 2): the mean over random crops."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from nndefense.core.options import Count
from nndefense.core.streams import stream
from nndefense.defenses.base import Context, Defense, Model, like_format, log_mean


@dataclass(frozen=True, kw_only=True)
class CropEnsemble(Defense):
    """The model's mean output over random square parts of the image, each resized to the whole image's size."""

    crops: Annotated[Count, Field(description="Their number.")] = 30
    crop_fraction: Annotated[
        float, Field(gt=0, le=1, description="Their side over the image's side; 1 is no defence.")
    ] = 90 / 224
    average: Annotated[
        Literal["softmax", "logits"],
        Field(description="What the mean is of: probabilities or, as in the code of Guo et al., logits."),
    ] = "softmax"

    attacked_crops: Annotated[
        Count,
        Field(description="Crops of a draw that an attacker's gradient is the mean of, at most `crops`."),
    ] = 8

    @property
    def random(self) -> bool:
        return self.crop_fraction < 1

    def predict(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        if self._whole(images):
            # All crops are the image itself, whose mean would only add rounding.
            return model(images).float().softmax(dim=1)
        total: Any = 0.0
        for logits in self._logits(model, images, rows, seed, self.crops):
            total = total + (logits if self.average == "logits" else logits.softmax(dim=1)).double()
        mean = total / self.crops
        return (mean.softmax(dim=1) if self.average == "logits" else mean).float()

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        if self._whole(images):
            return model(images)
        logits = list(self._logits(model, images, rows, seed, min(self.crops, self.attacked_crops)))
        return torch.stack(logits).mean(dim=0) if self.average == "logits" else log_mean(logits)

    def _size(self, images: Tensor) -> tuple[int, int]:
        height, width = (max(1, round(side * self.crop_fraction)) for side in images.shape[-2:])
        return height, width

    def _whole(self, images: Tensor) -> bool:
        return self._size(images) == images.shape[-2:]

    def _logits(self, model: Model, images: Tensor, rows: Tensor, seed: int, crops: int) -> Iterator[Tensor]:
        size = self._size(images)
        for tops, lefts in crop_places(images.shape, size, crops, rows, seed).to(images.device):
            yield model(like_format(resized_crops(images, tops, lefts, size), images)).float()


def crop_places(shape: tuple[int, ...], size: tuple[int, int], crops: int, rows: Tensor, seed: int) -> Tensor:
    """First row and column of every crop, uniform over all places within the image: (crops, 2, B) int64.

    Args:
        shape: (B, C, H, W) of the images.
        size: height and width of a crop.
        crops: their number.
        rows: (B,) integers.
        seed: places depend on (seed, row) alone.
    """
    spaces = np.array([shape[2] - size[0] + 1, shape[3] - size[1] + 1])
    drawn = [stream(seed, row).integers(spaces, size=(crops, 2)) for row in rows.tolist()]
    return torch.from_numpy(np.array(drawn, dtype=np.int64).reshape(-1, crops, 2)).permute(1, 2, 0)


def resized_crops(images: Tensor, tops: Tensor, lefts: Tensor, size: tuple[int, int]) -> Tensor:
    """A crop of each image (B, C, H, W), resized to (H, W): bilinear, antialiased, as torchvision resizes.

    Args:
        images: (B, C, H, W).
        tops, lefts: (B,) int64.
        size: height and width of the crops.
    """
    across = torch.arange(images.shape[1], device=images.device)[:, None, None]
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    vertical = (tops[:, None] + torch.arange(size[0], device=images.device))[:, None, :, None]
    horizontal = (lefts[:, None] + torch.arange(size[1], device=images.device))[:, None, None, :]
    crops = images[batch, across, vertical, horizontal]
    return interpolate(crops, images.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
