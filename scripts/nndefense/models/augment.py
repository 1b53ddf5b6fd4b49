"""Batches for training: uint8 images to tensors in [0, 1], with random crops and flips."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

PADDING = 4


def random_crops(images: Tensor, generator: torch.Generator, flip: bool, padding: int = PADDING) -> Tensor:
    """Images (B, H, W, 3) shifted by up to `padding` pixels, zeros beyond their edges; half of them flipped.

    generator: on the CPU, so that every device sees the same crops. Same dtype and device as `images`.
    """
    count, height, width, channels = images.shape
    padded = functional.pad(images, (0, 0, padding, padding, padding, padding))
    offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    flipped = torch.rand(count, generator=generator) < 0.5
    columns = torch.arange(width).expand(count, width)
    if flip:
        columns = torch.where(flipped[:, None], width - 1 - columns, columns)
    columns = columns + offsets[1][:, None]
    rows = torch.arange(height) + offsets[0][:, None]
    # One gather of whole pixels; a pixel's channels stay together in memory.
    wide = width + 2 * padding
    index = (torch.arange(count) * ((height + 2 * padding) * wide))[:, None, None]
    index = (index + rows[:, :, None] * wide + columns[:, None, :]).flatten().to(images.device)
    return padded.view(-1, channels).index_select(0, index).view(count, height, width, channels)


def training_inputs(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    augment: bool,
    flip: bool,
    generator: torch.Generator,
    device: str | torch.device,
) -> Tensor:
    """These rows of uint8 images (n, H, W, 3) as float32 (B, 3, H, W) in [0, 1], channels last in memory."""
    pixels = torch.from_numpy(np.ascontiguousarray(images[rows])).to(device, non_blocking=True)
    if augment:
        pixels = random_crops(pixels, generator, flip)
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def shuffled_batches(count: int, size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    """Rows 0..count-1 in random order, `size` at a time; those beyond a multiple of `size` are left out."""
    order = torch.randperm(count, generator=generator).numpy()
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]
