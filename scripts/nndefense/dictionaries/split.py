"""Low and high band of images: Tikhonov regularisation of the gradient, solved by FFT (Silva et al. 2022).

The low band minimises ||s_L - s||^2 + low_pass ||grad s_L||^2 on the image padded by its mirror image, channel by
channel, which divides its transform by 1 + low_pass (|G_r|^2 + |G_c|^2); G are the transforms of the filters (-1, 1).
"""

import torch
from torch import Tensor

from nndefense.core.errors import ConfigError, InputError

PADDING = 16


def split(images: Tensor, low_pass: float, padding: int = PADDING) -> tuple[Tensor, Tensor]:
    """Low band s_L and high band s_H = s - s_L of each image, differentiable.

    The bands add up to the image, up to the rounding of one subtraction.

    Args:
        images: s, (B, C, H, W), float32 or float64.
        low_pass: weight of the gradient, >= 0; the low band is smoother with more, and the image itself with 0.
        padding: pixels of mirrored border on each side, >= 0.

    Returns:
        Two arrays of the shape of the images.

    Raises:
        ConfigError: low_pass or padding out of range.
        InputError: images of another shape or type.
    """
    if not 0 <= low_pass < float("inf") or padding < 0:
        raise ConfigError(f"low_pass is {low_pass}, padding {padding}; allowed: finite numbers >= 0")
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(f"split needs images (B, C, H, W) of floats, got {tuple(images.shape)} {images.dtype}")
    if not len(images):  # of which older versions of PyTorch have no transform
        return images, images
    height, width = images.shape[2:]
    rows, columns = (_mirrored(side, padding, images.device) for side in (height, width))
    padded = images.index_select(2, rows).index_select(3, columns)
    shape = (padded.shape[2], padded.shape[3])
    smooth = torch.fft.irfft2(torch.fft.rfft2(padded) / _damping(shape, low_pass, images), s=shape)
    low = smooth[..., padding : padding + height, padding : padding + width]
    return low, images - low


def _mirrored(side: int, padding: int, device: torch.device) -> Tensor:
    """Indices 0 to side - 1 with `padding` more before and behind, mirrored at the edge, which comes twice."""
    places = torch.arange(-padding, side + padding, device=device) % (2 * side)
    return torch.minimum(places, 2 * side - 1 - places)


def _damping(shape: tuple[int, int], low_pass: float, like: Tensor) -> Tensor:
    """What the low band's transform is divided by, (H, W // 2 + 1)."""
    rows = torch.fft.fftfreq(shape[0], dtype=torch.float64)
    columns = torch.fft.rfftfreq(shape[1], dtype=torch.float64)
    # |1 - exp(-2 pi i f)|^2 = 2 - 2 cos(2 pi f).
    steep = [2 - 2 * torch.cos(2 * torch.pi * frequency) for frequency in (rows, columns)]
    return (1 + low_pass * (steep[0][:, None] + steep[1])).to(like)
