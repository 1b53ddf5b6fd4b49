"""Square (Andriushchenko et al. 2020) in l2: random search, which asks the defence and follows no gradient."""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nndefense.attacks.adaptive import Adaptive, Pursuit, exact_lead
from nndefense.attacks.budget import per_image
from nndefense.attacks.region import taken
from nndefense.attacks.space import l2_norms
from nndefense.core.options import Count
from nndefense.core.streams import stream

# Queries of 10,000 after which the window's share of the pixels is halved (Andriushchenko et al. 2020, section 5).
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Numbers that place two windows and turn a bump.
PLACING = 5
SMALLEST = 3
TILES = 5


@dataclass(frozen=True, kw_only=True)
class Square(Adaptive):
    """Square in l2: moves budget between windows where the exact defence's lead of a wrong class does not fall by it.

    It needs no gradient, so it tells whether the other attacks fail for want of one. Hard votes have plateaus: equal
    leads count as progress.
    """

    queries: Annotated[
        Count,
        Field(description="Images that the exact defence is asked about, of each image and start, its own included."),
    ] = 500
    share: Annotated[
        float, Field(gt=0, le=1, description="Share of the pixels in the first windows; falls as in the paper.")
    ] = 0.8

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        # The clean image was the first start's first query.
        queries = self.queries - (restart == 0)
        if not queries:
            return
        pursuit.moved[pursuit.active] = True
        region: Any = pursuit.part.region
        channels, height, width = region.center.shape[1:]
        tiles = (height // _tile(height, width)) * (width // _tile(height, width))
        first, each = tiles * (1 + channels), PLACING + channels
        numbers = _numbers(pursuit.part.rows, pursuit.part.seed, restart, first + (queries - 1) * each)
        numbers = numbers.to(region.center.device)
        z = region.project(region.step(region.center, _tiling(region.center, numbers[:, :first]), region.radius, "l2"))
        lead, holds = _ask(pursuit, z)
        for query in range(queries - 1):
            if len(pursuit.active) < len(z):
                z, lead, numbers = (taken(values, holds) for values in (z, lead, numbers))
            if not len(z):
                break
            side = _side(self.share / 2 ** _halvings(query / self.queries), height, width)
            found = _moved(pursuit.part.region, z, numbers[:, first + query * each :][:, :each], side)
            asked, holds = _ask(pursuit, found)
            better = asked >= lead
            z, lead = torch.where(per_image(better, z).bool(), found, z), torch.where(better, asked, lead)


def _ask(pursuit: Pursuit, z: Tensor) -> tuple[Tensor, Tensor]:
    """As `Pursuit.offer`, but the leads too, (b,): the search needs those that are not the largest so far."""
    images = pursuit.part.region.finished(z)
    lead, broken = exact_lead(pursuit.part, images, pursuit.draws)
    better = (lead > pursuit.lead[pursuit.active]) | broken
    own = pursuit.active[better]
    pursuit.best[own], pursuit.lead[own] = images[better], lead[better]
    if broken.any():
        pursuit.broken[pursuit.active[broken]] = True
        pursuit.active, pursuit.part = pursuit.active[~broken], pursuit.part.at(~broken)
    return lead, ~broken


def _numbers(rows: Tensor, seed: int, restart: int, count: int) -> Tensor:
    """All that a start draws, uniform in [0, 1), (b, count) float64: a function of (seed, row, restart) alone."""
    return torch.from_numpy(np.stack([stream(seed, row, restart).random(count) for row in rows.tolist()]))


def _halvings(progress: float) -> int:
    """How often the windows' share has been halved once a part of the queries is spent."""
    return sum(int(10_000 * progress) > queries for queries in HALVINGS)


def _side(share: float, height: int, width: int) -> int:
    """Side of a window that covers a share of the pixels: odd, at least 3, and within the image."""
    side = max(round(sqrt(share * height * width)), SMALLEST)
    shortest = min(height, width)
    return min(side + (side % 2 == 0), shortest - (shortest % 2 == 0))


def _tile(height: int, width: int) -> int:
    return max(min(height, width) // TILES, 1)


@cache
def _bumps(side: int, device: torch.device) -> Tensor:
    """The paper's eta, (2, side, side) float32 of l2 norm 1: two bumps of opposite sign, side by side or not."""
    found = np.zeros((side, side))
    half = side // 2
    if half:
        found[:half] = _rectangles(half, side)
    found[half:] = -_rectangles(side - half, side)
    found /= np.linalg.norm(found)
    return torch.from_numpy(np.stack([found, found.T])).float().to(device)


def _rectangles(height: int, width: int) -> np.ndarray:
    """Centred rectangles of falling weight, one upon the other, (height, width) of l2 norm 1."""
    found = np.zeros((height, width))
    top, left = height // 2, width // 2
    for ring in range(max(top, left) + 1):
        rows = slice(max(top - ring, 0), top + ring + 1)
        found[rows, max(left - ring, 0) : left + ring + 1] += 1 / (ring + 1) ** 2
    return found / np.linalg.norm(found)


def _tiling(like: Tensor, numbers: Tensor) -> Tensor:
    """Bumps side by side all over the images, turned and signed at random, (b, C, H, W): where a start begins."""
    images, channels, height, width = like.shape
    side = _tile(height, width)
    down, right = height // side, width // side
    numbers = numbers.view(images, down, right, 1 + channels)
    bumps = _bumps(side, like.device)[(numbers[..., 0] < 0.5).long()]
    signed = bumps[:, :, :, None] * _signs(numbers[..., 1:])[..., None, None]
    found = torch.zeros_like(like)
    top, left = (height - down * side) // 2, (width - right * side) // 2
    block = signed.permute(0, 3, 1, 4, 2, 5).reshape(images, channels, down * side, right * side)
    found[:, :, top : top + down * side, left : left + right * side] = block
    return found


def _signs(numbers: Tensor) -> Tensor:
    return torch.where(numbers < 0.5, -1.0, 1.0)


def _moved(region: Any, z: Tensor, numbers: Tensor, side: int) -> Tensor:
    """Algorithm 3: a bump in one window, of what is there, what another window gives up, and what was not spent.

    Args:
        region: of the images.
        z: (b, C, H, W) where they are.
        numbers: (b, 5 + C) uniform in [0, 1).
        side: of the windows, each image's elsewhere.

    Returns z within the region.
    """
    channels, height, width = z.shape[1:]
    change = z - region.center
    room = torch.tensor([height, width, height, width], device=z.device) - side + 1
    corners = (numbers[:, :4] * room).long()
    one, other = (_window(corners[:, place : place + 2], channels, side) for place in (0, 2))
    unspent = (region.radius.square() - l2_norms(change).double().square()).clamp_min(0).to(z.dtype)
    # An overlap belongs to the first window, so its budget counts once.
    old = change[one]
    change[one] = 0
    energy = (_squares(old) + _squares(change[other])) + (unspent / channels)[:, None]
    change[other] = 0
    bump = _bumps(side, z.device)[(numbers[:, 4] < 0.5).long()][:, None] * _signs(numbers[:, PLACING:])[..., None, None]
    change[one] = _unit(bump + _unit(old)) * energy.sqrt()[..., None, None]
    return region.project(region.center + change)


def _window(corners: Tensor, channels: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index of one window for each image, at its corner (b, 2), in all channels."""
    inside = torch.arange(side, device=corners.device)
    rows, columns = (corners[:, axis, None] + inside for axis in (0, 1))
    images = torch.arange(len(corners), device=corners.device)
    every = torch.arange(channels, device=corners.device)
    return images[:, None, None, None], every[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]


def _squares(windows: Tensor) -> Tensor:
    """Sum of squares in each channel, (b, C)."""
    return windows.flatten(2).square().sum(dim=2)


def _unit(windows: Tensor) -> Tensor:
    """Windows of l2 norm 1 in each channel; zeros stay zero."""
    norm = _squares(windows).sqrt()[..., None, None]
    return windows / torch.where(norm > 0, norm, 1)
