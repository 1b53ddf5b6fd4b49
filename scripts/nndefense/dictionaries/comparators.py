"""Purifiers without a dictionary: what they undo of an attack is not owed to semantics.

Each is a function of images (B, C, H, W) in [0, 1] to images of the same shape, type and device; none has gradients.
"""

import io

import numpy as np
import torch
from torch import Tensor

from nndefense.core.errors import ConfigError, InputError
from nndefense.dictionaries.split import split

# Names of Pillow's chroma subsampling, by its codes.
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def jpeg(images: Tensor, quality: int = 75, subsampling: str = "4:2:0") -> Tensor:
    """Images as JPEG files show them, after rounding to 8 bits.

    Args:
        images: (B, 3, H, W) in [0, 1].
        quality: 1 to 95, as Pillow and libjpeg count it.
        subsampling: of the two colour channels, one of SUBSAMPLINGS.

    Raises:
        ConfigError: an option out of range.
        InputError: images of another shape, or pixels outside of [0, 1].
    """
    from PIL import Image

    if not 1 <= quality <= 95:
        raise ConfigError(f"quality is {quality}; allowed: an integer from 1 to 95")
    if subsampling not in SUBSAMPLINGS:
        raise ConfigError(f"subsampling is {subsampling!r}; allowed: {', '.join(SUBSAMPLINGS)}")
    _check(images)
    if images.shape[1] != 3:
        raise InputError(f"JPEG needs images of 3 channels, got {images.shape[1]}")
    pixels = (images.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    shown = np.empty_like(pixels)
    for one, out in zip(pixels, shown, strict=True):
        file = io.BytesIO()
        Image.fromarray(one).save(file, "JPEG", quality=quality, subsampling=SUBSAMPLINGS.index(subsampling))
        out[:] = np.asarray(Image.open(file))
    return torch.from_numpy(shown).permute(0, 3, 1, 2).to(images) / 255


def median(images: Tensor, size: int = 3) -> Tensor:
    """The median of the size x size pixels around each, channel by channel; mirrored at the border.

    Args:
        images: (B, C, H, W) in [0, 1].
        size: an odd number >= 1.

    Raises:
        ConfigError: an even size, or one below 1.
        InputError: images of another shape, or pixels outside of [0, 1].
    """
    from scipy.ndimage import median_filter

    if size < 1 or size % 2 == 0:
        raise ConfigError(f"size is {size}; allowed: an odd integer >= 1")
    _check(images)
    found = median_filter(images.detach().cpu().numpy(), size=(1, 1, size, size), mode="reflect")
    return torch.from_numpy(found).to(images)


def low_band(images: Tensor, low_pass: float) -> Tensor:
    """The low band alone, which is a mean of pixels with weights >= 0: clipped to [0, 1] for rounding.

    Args:
        images: (B, C, H, W) in [0, 1].
        low_pass: as of `split.split`; more of it cuts off more.

    Raises:
        ConfigError: low_pass out of range.
        InputError: images of another shape, or pixels outside of [0, 1].
    """
    _check(images)
    return split(images.detach(), low_pass)[0].clamp(0, 1)


def _check(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(f"comparators need images (B, C, H, W) of floats, got {tuple(images.shape)} {images.dtype}")
    # Written so that a NaN pixel fails it.
    if images.numel() and not (images.amin() >= 0 and images.amax() <= 1):
        raise InputError("comparators need finite pixels in [0, 1]")
