"""Crop ensemble (Guo et al. 2018, §3.2, as used by Dubey et al. 2019, Table 2): the mean over random crops."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nndefense.defenses.base import Defense, check_choice, check_integer, check_number, like_format, row_generator


@dataclass(frozen=True, kw_only=True)
class CropEnsemble(Defense):
    """The model's mean output over random square parts of the image, each resized to the whole image's size.

    crops: their number. crop_fraction: their side over the image's side; 1 is no defence. average: what the mean is
    of, `softmax` rows or, as in the code of Guo et al., `logits` (whose softmax is returned).
    """

    crops: int = 30
    crop_fraction: float = 90 / 224
    average: str = "softmax"

    def __post_init__(self):
        check_integer("crops", self.crops, 1)
        check_number("crop_fraction", self.crop_fraction, "a number > 0 and <= 1", lambda value: 0 < value <= 1)
        check_choice("average", self.average, ("softmax", "logits"))

    def predict(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        rows: Tensor,
        seed: int,
        context: Mapping[str, object],
    ) -> Tensor:
        height, width = (max(1, round(side * self.crop_fraction)) for side in images.shape[-2:])
        if (height, width) == images.shape[-2:]:
            # All crops are the image itself, whose mean would only add rounding.
            return model(images).float().softmax(dim=1)
        places = crop_places(images.shape, (height, width), self.crops, rows, seed)
        total = 0.0
        for tops, lefts in places.to(images.device):
            views = resized_crops(images, tops, lefts, (height, width))
            logits = model(like_format(views, images)).float()
            total = total + (logits if self.average == "logits" else logits.softmax(dim=1)).double()
        mean = total / self.crops
        return (mean.softmax(dim=1) if self.average == "logits" else mean).float()


def crop_places(shape: tuple[int, ...], size: tuple[int, int], crops: int, rows: Tensor, seed: int) -> Tensor:
    """First row and column of every crop, uniform over all places within the image: (crops, 2, B) int64.

    shape: (B, C, H, W) of the images. size: of a crop. rows: (B,) integers.
    """
    spaces = np.array([shape[2] - size[0] + 1, shape[3] - size[1] + 1])
    drawn = [row_generator(seed, row).integers(spaces, size=(crops, 2)) for row in rows.tolist()]
    return torch.from_numpy(np.array(drawn, dtype=np.int64).reshape(-1, crops, 2)).permute(1, 2, 0)


def resized_crops(images: Tensor, tops: Tensor, lefts: Tensor, size: tuple[int, int]) -> Tensor:
    """A crop of each image (B, C, H, W), resized to (H, W): bilinear, antialiased, as torchvision resizes.

    tops, lefts: (B,) int64. size: height and width of the crops.
    """
    across = torch.arange(images.shape[1], device=images.device)[:, None, None]
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    vertical = (tops[:, None] + torch.arange(size[0], device=images.device))[:, None, :, None]
    horizontal = (lefts[:, None] + torch.arange(size[1], device=images.device))[:, None, None, :]
    crops = images[batch, across, vertical, horizontal]
    return interpolate(crops, images.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
