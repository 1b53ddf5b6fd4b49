"""Images, filters and dictionaries that tests of purification share."""

import numpy as np
import torch
from torch import Tensor

from nndefense.dictionaries.spectrum import Spectrum, transform_filters


def pictures(count=4, height=20, width=18, seed=0, dtype=torch.float32) -> Tensor:
    """Coloured stripes with edges and noise, (count, 3, height, width) in [0.1, 0.9]."""
    draw = torch.Generator().manual_seed(seed)
    phase, pitch = torch.rand(2, count, 3, 1, 1, generator=draw)
    waves = torch.arange(height)[:, None] * pitch + torch.arange(width) * (1 - pitch) + 6 * phase
    noise = torch.randn(waves.shape, generator=draw)
    return (0.5 + 0.2 * waves.sin() + 0.1 * waves.cos().sign() + 0.03 * noise).clamp(0.1, 0.9).to(dtype)


def random_filters(count=8, size=5, seed=0, dtype=torch.float32) -> Tensor:
    """Smooth coloured filters of norm 1, (count, 3, size, size)."""
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 3, size, size, generator=draw, dtype=torch.float64)
    # Filters that are alike, as learnt ones are: between unlike ones any solver finds the minimum at once.
    drawn = drawn + 0.7 * drawn.roll(1, dims=2) + 0.7 * drawn.roll(1, dims=3) + 0.5 * drawn.mean(dim=1, keepdim=True)
    return (drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]).to(dtype)


def dictionary(height=20, width=18, dtype=torch.float32, **options) -> Spectrum:
    return transform_filters(random_filters(dtype=dtype, **options), height, width)


def convolved(maps: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """sum_m d_m * x_m on a torus, tap by tap: maps (B, M, H, W), filters (M, C, s, s) -> (B, C, H, W) float64."""
    total = 0.0
    for row in range(filters.shape[2]):
        for column in range(filters.shape[3]):
            moved = np.roll(maps, (row, column), axis=(2, 3)).astype(np.float64)
            total = total + np.einsum("bmhw,mc->bchw", moved, filters[:, :, row, column])
    return total
