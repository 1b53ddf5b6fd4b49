"""Total-variation minimisation (Guo et al. 2018, §3.3, as used by Dubey et al. 2019, Table 2).

Pixels are dropped at random and the image of least total variation that fits the others takes its place. The solver is
split Bregman (Goldstein & Osher 2009) with the steps of the code of Guo et al.: penalty twice the weight of the data,
ten Gauss-Seidel sweeps to each shrinkage. Sweeps go over the pixels in four phases of a 2 x 2 checkerboard, so that
each is a few operations on whole arrays; the order of the pixels does not change what the sweeps converge to.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nndefense.core.errors import InputError
from nndefense.core.options import Count, NotNegative
from nndefense.core.streams import stream
from nndefense.defenses.base import Context, Purifier, like_format

# Pixels solved for at once: few enough for the arrays to stay in a core's cache, many enough to fill a GPU.
CHUNK = {"cpu": 1 << 17, "cuda": 1 << 25}


@dataclass(frozen=True, kw_only=True)
class TVMinimization(Purifier):
    """Drops pixels of each channel at random and fills them in: min_z 1/2 sum m (z - x)^2 + tv_weight TV(z)."""

    drop: Annotated[
        float, Field(ge=0, lt=1, description="Probability that a value (pixel and channel) is dropped, m = 0.")
    ] = 0.5
    tv_weight: Annotated[NotNegative, Field(description="Weight of the isotropic total variation.")] = 0.03
    iterations: Annotated[Count, Field(description="Shrinkage steps at most.")] = 100
    sweeps: Annotated[Count, Field(description="Gauss-Seidel sweeps to each shrinkage step.")] = 10
    tolerance: Annotated[
        NotNegative,
        Field(
            description="An image is done when a step changes it by a smaller root mean square; the paper's 0.01 stops "
            "long before the minimum, at a smoother image."
        ),
    ] = 0.01
    shrinkage: Annotated[
        Literal["exact", "smooth"],
        Field(
            description="`exact` for the objective above, or `smooth` as scikit-image and Guo et al. have it, which "
            "rounds off the kink of the total variation."
        ),
    ] = "exact"

    @property
    def random(self) -> bool:
        return self.drop > 0

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        kept = keep_mask(images.shape, self.drop, rows, seed).to(images.device)
        found = minimize_tv(
            images,
            kept,
            tv_weight=self.tv_weight,
            iterations=self.iterations,
            sweeps=self.sweeps,
            tolerance=self.tolerance,
            shrinkage=self.shrinkage,
        )
        return like_format(found.clamp_(0, 1), images)


def keep_mask(shape: tuple[int, ...], drop: float, rows: Tensor, seed: int) -> Tensor:
    """Which values are kept, (B, C, H, W) bool.

    Args:
        shape: of the images.
        drop: probability that a value is not kept.
        rows: (B,) integers.
        seed: what is dropped depends on (seed, row) alone.
    """
    kept = np.empty(shape, dtype=bool)
    for row, out in zip(rows.tolist(), kept, strict=True):
        np.greater_equal(stream(seed, row).random(shape[1:], dtype=np.float32), drop, out=out)
    return torch.from_numpy(kept)


def total_variation(images: Tensor) -> Tensor:
    """Isotropic total variation of each image, summed over its channels: (B, C, H, W) -> (B,) float64.

    Forward differences, zero beyond the last row and column.
    """
    images = images.double()
    across, down = torch.zeros_like(images), torch.zeros_like(images)
    across[..., :-1] = images.diff(dim=-1)
    down[..., :-1, :] = images.diff(dim=-2)
    return (across.square() + down.square()).sqrt().sum(dim=(1, 2, 3))


def objective(images: Tensor, found: Tensor, kept: Tensor, tv_weight: float) -> Tensor:
    """1/2 sum m (z - x)^2 + tv_weight TV(z) of each image, (B,) float64."""
    fit = (kept * (found.double() - images.double()).square()).sum(dim=(1, 2, 3)) / 2
    return fit + tv_weight * total_variation(found)


def minimize_tv(
    images: Tensor,
    kept: Tensor,
    *,
    tv_weight: float = 0.03,
    iterations: int = 100,
    sweeps: int = 10,
    tolerance: float = 0.01,
    shrinkage: str = "exact",
) -> Tensor:
    """Images z that minimise `objective`, from z = m x: float32, the shape of the images, contiguous.

    Images do not depend on each other.

    Args:
        images: x, (B, C, H, W) float32.
        kept: m, (B, C, H, W) bool.
        tv_weight, iterations, sweeps, tolerance, shrinkage: as the options of `TVMinimization`.

    Raises:
        InputError: below 2 x 2 pixels.
    """
    count, channels, height, width = images.shape
    if min(height, width) < 2:
        raise InputError(f"images of {height} x {width} pixels are too small for a total variation; 2 x 2 at least")
    each = max(1, CHUNK.get(images.device.type, CHUNK["cpu"]) // (channels * height * width))
    found = torch.empty_like(images, memory_format=torch.contiguous_format)
    for start in range(0, count, each):
        part = slice(start, start + each)
        solver = _Solver(images[part], kept[part], tv_weight / 2, shrinkage)
        active = torch.arange(len(images[part]), device=images.device)
        for iteration in range(iterations):
            done = solver.step(sweeps) < tolerance
            if iteration == iterations - 1:
                done |= True
            if done.any():
                found[part][active[done]] = solver.images()[done]
                active = active[~done]
                if not len(active):
                    break
                solver.keep(~done)
    return found


class _Solver:
    """State of split Bregman on images side by side; arrays are (rows, columns, images, channels), sides made even.

    With the penalty twice the weight of the data, the linear system of a sweep is
    (m + 2 n) z = m x + 2 (sum of the n neighbours + divergence), whatever the weight.
    """

    def __init__(self, images: Tensor, kept: Tensor, threshold: float, shrinkage: str) -> None:
        self.height, self.width = images.shape[-2:]
        self.threshold, self.shrinkage = threshold, shrinkage
        mask, pixels = self._pad(kept.float()), self._pad(images * kept)
        neighbors = torch.full((1, 1, self.height, self.width), 4.0, device=images.device)
        for border in (neighbors[..., 0, :], neighbors[..., -1, :], neighbors[..., 0], neighbors[..., -1]):
            border.sub_(1)
        neighbors = self._pad(neighbors)
        # Cells beyond the image have no neighbours; gain and data zero keep them zero.
        share = torch.where(neighbors > 0, 1 / (mask + 2 * neighbors), 0.0)
        self.gain, self.data = 2 * share, share * pixels
        self.duals = [torch.zeros_like(pixels), torch.zeros_like(pixels)]
        self.z = pixels
        self._phases(self._split(self.data))

    def _pad(self, images: Tensor) -> Tensor:
        even = torch.nn.functional.pad(images, (0, self.width % 2, 0, self.height % 2))
        return even.permute(2, 3, 0, 1).contiguous()

    @staticmethod
    def _split(array: Tensor) -> Tensor:
        """(2 R, 2 S, ...) -> a view (2, 2, R, S, ...) of the four phases of the checkerboard."""
        rows, columns, *lanes = array.shape
        return array.view(rows // 2, 2, columns // 2, 2, *lanes).permute(1, 3, 0, 2, 4, 5)

    def _phases(self, constants: Tensor) -> None:
        """Copies that the sweeps run over, each phase contiguous and with a zero row and column for the border.

        The border is behind the cells of an even phase and before those of an odd one, so that the two neighbours
        of cell i in the other phase are its places i and i + 1 either way.
        """
        cells = self._split(self.z)
        rows, columns = cells.shape[2:4]
        # Cloned, as the phases of 2 x 2 pixels are contiguous already, and constants would be written through.
        self.gains = self._split(self.gain).clone(memory_format=torch.contiguous_format)
        self.constants = constants.clone(memory_format=torch.contiguous_format)
        self.padded = cells.new_zeros(2, 2, rows + 1, columns + 1, *cells.shape[4:])
        self.own = [[self.padded[p, q, p : p + rows, q : q + columns] for q in (0, 1)] for p in (0, 1)]
        self.around = [
            [
                (
                    self.padded[1 - p, q, :rows, q : q + columns],
                    self.padded[1 - p, q, 1:, q : q + columns],
                    self.padded[p, 1 - q, p : p + rows, :columns],
                    self.padded[p, 1 - q, p : p + rows, 1:],
                )
                for q in (0, 1)
            ]
            for p in (0, 1)
        ]
        for p, q in PHASES:
            self.own[p][q].copy_(cells[p, q])

    def step(self, sweeps: int) -> Tensor:
        """Gauss-Seidel sweeps and a shrinkage; the root mean square change of each image, (images,) float64."""
        scratch = torch.empty_like(self.gains[0, 0])
        for _ in range(sweeps):
            for p, q in PHASES:
                above, below, left, right = self.around[p][q]
                # Separate products and sums: fused ones would round by the place of a pixel in its vector.
                torch.add(above, below, out=scratch).add_(left).add_(right).mul_(self.gains[p, q])
                torch.add(scratch, self.constants[p, q], out=self.own[p][q])
        before, self.z = self.z, torch.empty_like(self.z)
        cells = self._split(self.z)
        for p, q in PHASES:
            cells[p, q].copy_(self.own[p][q])
        self._shrink()
        pixels = self.height * self.width * self.z.shape[3]
        change = before.sub_(self.z).square_().sum(dim=(0, 1, 3), dtype=torch.float64)
        return (change / pixels).sqrt()

    def _shrink(self) -> None:
        across, down = torch.zeros_like(self.z), torch.zeros_like(self.z)
        inner = self.z[: self.height, : self.width]
        torch.sub(inner[:, 1:], inner[:, :-1], out=across[: self.height, : self.width - 1])
        torch.sub(inner[1:], inner[:-1], out=down[: self.height - 1, : self.width])
        across.add_(self.duals[0])
        down.add_(self.duals[1])
        # Share of the gradient that moves to the dual variable; the lower bound avoids 0 / 0.
        share = (across * across).add_(down * down).clamp_min_(1e-30)
        if self.shrinkage == "exact":
            share.rsqrt_().mul_(self.threshold).clamp_max_(1)
        else:
            share = self.threshold / share.sqrt_().add_(self.threshold)
        for dual, gradient in zip(self.duals, (across, down), strict=True):
            torch.mul(gradient, share, out=dual)
            gradient.sub_(dual, alpha=2)
        # What flows into a pixel: the forward differences that end at it less those that start there.
        flow = across.neg()
        flow[:, 1:] += across[:, :-1]
        flow -= down
        flow[1:] += down[:-1]
        flow.mul_(self.gain).add_(self.data)
        self.constants.copy_(self._split(flow))

    def images(self) -> Tensor:
        """The present z, (images, channels, H, W)."""
        return self.z[: self.height, : self.width].permute(2, 3, 0, 1)

    def keep(self, chosen: Tensor) -> None:
        """Goes on with the chosen images only, (images,) bool."""
        places = chosen.nonzero()[:, 0]
        self.gain, self.data, self.z = (array.index_select(2, places) for array in (self.gain, self.data, self.z))
        self.duals = [dual.index_select(2, places) for dual in self.duals]
        self._phases(self.constants.index_select(4, places))


# Opposite corners of a 2 x 2 block share no edge, so these are the two half sweeps of a red-black ordering.
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))
