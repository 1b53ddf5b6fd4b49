"""Random views of images: crops of random size and shape, mirrored and recoloured, for self-supervised training."""

import math

import torch
from torch import Tensor
from torch.nn import functional

# Weights of red, green and blue in grey (ITU-R 601).
GREY = (0.299, 0.587, 0.114)
# Width over height of a crop.
SHAPES = (3 / 4, 4 / 3)


def random_views(images: Tensor, generator: torch.Generator, *, area: float, jitter: float, grey: float) -> Tensor:
    """A view of each image (Chen et al. 2020, appendix A, without blur, which they leave out at 32 pixels).

    Args:
        images: (B, 3, H, W) in [0, 1].
        generator: of what is random, on the CPU.
        area: the smallest share of an image that a crop shows, 0 to 1.
        jitter: largest change of brightness, contrast and saturation, as a share; each image is changed with p = .8.
        grey: share of the images without colour.

    Returns:
        (B, 3, H, W) in [0, 1], on the images' device.
    """
    return _recoloured(_cropped(images, generator, area), generator, jitter, grey)


def _cropped(images: Tensor, generator: torch.Generator, area: float) -> Tensor:
    count = len(images)
    share, shape, left, top, mirror = torch.rand(5, count, generator=generator)
    share = area + (1 - area) * share
    ratio = torch.exp(math.log(SHAPES[0]) + (math.log(SHAPES[1]) - math.log(SHAPES[0])) * shape)
    wide, tall = ((share * ratio).sqrt().clamp(max=1), (share / ratio).sqrt().clamp(max=1))
    # In the coordinates of grid_sample, from -1 to 1.
    x, y = (2 * left - 1) * (1 - wide), (2 * top - 1) * (1 - tall)
    zero, side = torch.zeros(count), torch.where(mirror < 0.5, -1.0, 1.0)
    rows = torch.stack([torch.stack([side * wide, zero, x], 1), torch.stack([zero, tall, y], 1)], 1)
    grid = functional.affine_grid(rows.to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _recoloured(images: Tensor, generator: torch.Generator, jitter: float, grey: float) -> Tensor:
    count = len(images)
    factors = 1 + jitter * (2 * torch.rand(3, count, generator=generator) - 1)
    factors[:, torch.rand(count, generator=generator) >= 0.8] = 1
    colourless = torch.rand(count, generator=generator) < grey
    bright, contrast, saturation = factors.to(images)[:, :, None, None, None]
    images = images * bright
    images = images.lerp(images.mean((1, 2, 3), keepdim=True), 1 - contrast)
    light = (images * images.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    kept = saturation * (~colourless).to(images)[:, None, None, None]
    return light.lerp(images, kept).clamp(0, 1)
