"""R-MAC: regional maxima of activations, summed to one unit vector (Tolias, Sicre & Jégou 2016).

Dubey et al. 2019, §5.1, pool conv_5_1 by it for 50 billion images and refer to an appendix that does not describe
it, so levels and region sizes here are Tolias et al.'s.
"""

from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

from nndefense.core.errors import ConfigError

# Overlap that neighbouring regions of level 1 come closest to along the longer side, and their possible numbers.
_OVERLAP = Fraction(2, 5)
_LONG_SIDE_COUNTS = range(2, 8)


def rmac_regions(height: int, width: int, levels: int = 3) -> list[tuple[int, int, int, int]]:
    """Square regions (top, left, height, width) of a map of height x width, from level 1 on, row by row.

    Level l has sides of floor(2 min(height, width) / (l + 1)) and l regions along the shorter side; along the longer
    one as many more as bring neighbours at level 1 closest to 40 % overlap. On a square map, level 1 is the whole map,
    which counts once (some code adds its maximum again). Levels whose side is 0 are left out.
    Raises ConfigError for sizes or levels below 1.
    """
    if min(height, width, levels) < 1:
        raise ConfigError(f"R-MAC of a {height} x {width} map with {levels} levels: all must be at least 1")
    short = min(height, width)
    more = _extra_regions(short, max(height, width))
    regions = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        if side:
            tops = _starts(height, side, level + (more if height > width else 0))
            lefts = _starts(width, side, level + (more if width > height else 0))
            regions += [(top, left, side, side) for top in tops for left in lefts]
    return regions


def rmac(maps: Tensor, levels: int = 3, pre_relu: bool = False) -> Tensor:
    """Maps (B, C, H, W) -> unit vectors (B, C): regional channel maxima, each scaled to length 1, summed, scaled.

    R-MAC is defined on non-negative activations, so a ReLU comes first; pre_relu: maxima of the values as they are.
    A map without positive values gives zeros then. Differentiable. Raises ConfigError as `rmac_regions`.
    """
    values = maps if pre_relu else functional.relu(maps)
    regions = rmac_regions(maps.shape[-2], maps.shape[-1], levels)
    maxima = torch.stack(
        [values[..., top : top + tall, left : left + wide].amax((2, 3)) for top, left, tall, wide in regions]
    )
    return functional.normalize(functional.normalize(maxima, dim=2).sum(0), dim=1)


def _extra_regions(short: int, long: int) -> int:
    if short == long:
        return 0

    def miss(count: int) -> Fraction:
        return abs(1 - Fraction(long - short, short * (count - 1)) - _OVERLAP)

    return min(_LONG_SIDE_COUNTS, key=miss) - 1


def _starts(length: int, side: int, count: int) -> list[int]:
    # Integer division: in floating point the last start can fall one short of length - side.
    return [number * (length - side) // max(count - 1, 1) for number in range(count)]
