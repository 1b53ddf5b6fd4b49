"""Codes of high bands: min_x 1/2 sum_ch ||sum_m d_m^ch * x_m - s_H^ch||^2 + sparsity sum_m ||x_m||_1, image by image.

One set of coefficient maps makes all channels. The methods find the same minimum; FISTA's objective never goes up, and
ADMM takes fewer steps of the same cost. Images do not depend on each other.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.progress import blocks
from nndefense.dictionaries.admm import ADMM
from nndefense.dictionaries.fista import Fista
from nndefense.dictionaries.spectrum import Spectrum

METHODS = {"fista": Fista, "admm": ADMM}
# Values of maps worked on at once: few enough to stay in a core's cache, many enough to fill a GPU.
CHUNK = {"cpu": 1 << 18, "cuda": 1 << 28}


@dataclass(frozen=True, eq=False)
class Codes:
    """Coefficient maps, and how they were found.

    Attributes:
        maps: x, (B, M, H, W).
        iterations: steps of each image, (B,) int64.
        objectives: (B, T), before the first step and after each `window` of the method; the last is repeated after it.
    """

    maps: Tensor
    iterations: Tensor
    objectives: Tensor


@torch.no_grad()
def code(
    high: Tensor,
    spectrum: Spectrum,
    sparsity: float,
    *,
    method: str = "fista",
    iterations: int = 500,
    tolerance: float = 1e-3,
) -> Codes:
    """Codes of each image.

    Args:
        high: s_H, (B, C, H, W) on the dictionary's device and of its type.
        spectrum: the dictionary, for images of H x W.
        sparsity: weight of the maps' absolute values, > 0.
        method: a name in METHODS.
        iterations: steps at most, >= 1.
        tolerance: an image is done when its objective changes by at most this share of it in `window` steps of the
            method, >= 0. It is then above its minimum by a few times as much.

    Raises:
        ConfigError: an option out of range.
        InputError: bands that do not fit the dictionary.
    """
    solver_class = _check(high, spectrum, sparsity, method, iterations)
    if not tolerance >= 0:
        raise ConfigError(f"tolerance is {tolerance}; allowed: a number >= 0")
    count, filters = len(high), len(spectrum.filters)
    maps = high.new_empty(count, filters, spectrum.height, spectrum.width)
    steps = torch.zeros(count, dtype=torch.int64, device=high.device)
    window = solver_class.window
    looks = -(-iterations // window)
    objectives = high.new_full((count, looks + 1), float("nan"))
    each = max(1, CHUNK.get(high.device.type, CHUNK["cpu"]) // (filters * spectrum.height * spectrum.width))
    for rows in blocks(count, each):
        target = spectrum.analyse(high[rows])
        left = torch.arange(rows.start, rows.stop, device=high.device)
        objectives[left, 0] = spectrum.energy(target)
        solver = solver_class(target, spectrum, sparsity)
        for look in range(1, looks + 1):
            now = min(window, iterations - (look - 1) * window)
            for _ in range(now):
                solver.step()
            steps[left] += now
            value = solver.objective()
            objectives[left, look] = value
            change = (objectives[left, look - 1] - value).abs()
            done = (change <= tolerance * value) & solver.settled(tolerance)
            if look == looks:
                done = torch.ones_like(done)
            if done.any():
                maps[left[done]] = solver.maps()[done]
                left = left[~done]
                if not len(left):
                    break
                solver.keep((~done).nonzero()[:, 0])
    return Codes(maps, steps, _filled(objectives))


def _filled(objectives: Tensor) -> Tensor:
    """Without the looks that no image came to, and the last look of an image after it."""
    came = ~objectives.isnan()
    last = came.sum(dim=1, keepdim=True) - 1
    places = torch.arange(int(last.max()) + 1 if len(last) else 1, device=objectives.device)
    return objectives.gather(1, torch.minimum(places.expand(len(last), -1), last))


def unroll(high: Tensor, spectrum: Spectrum, sparsity: float, *, method: str = "fista", iterations: int = 12) -> Tensor:
    """Maps (B, M, H, W) after a fixed number of steps, through which gradients flow to the bands.

    What an attacker differentiates in place of `code`. All images are worked on at once; memory grows with the steps.

    Args:
        high, spectrum, sparsity, method: as of `code`.
        iterations: steps, >= 1.

    Raises:
        ConfigError: an option out of range.
        InputError: bands that do not fit the dictionary.
    """
    solver = _check(high, spectrum, sparsity, method, iterations)(spectrum.analyse(high), spectrum, sparsity)
    for _ in range(iterations):
        solver.step()
    return solver.maps()


def evaluate(high: Tensor, maps: Tensor, spectrum: Spectrum, sparsity: float) -> Tensor:
    """The objective of maps x (B, M, H, W) for bands s_H (B, C, H, W): (B,)."""
    rest = spectrum.show(maps) - spectrum.analyse(high)
    return spectrum.energy(rest) + sparsity * maps.abs().sum(dim=(1, 2, 3))


def _check(high: Tensor, spectrum: Spectrum, sparsity: float, method: str, iterations: int) -> Any:
    if method not in METHODS:
        raise ConfigError(f"method {method!r} is unknown; allowed: {', '.join(METHODS)}")
    if not 0 < sparsity < float("inf"):
        raise ConfigError(f"sparsity is {sparsity}; allowed: a finite number > 0")
    if iterations < 1:
        raise ConfigError(f"iterations is {iterations}; allowed: an integer >= 1")
    expected = (spectrum.filters.shape[1], spectrum.height, spectrum.width)
    if high.ndim != 4 or high.shape[1:] != expected or high.dtype != spectrum.filters.dtype:
        raise InputError(
            f"coding needs bands (B, {', '.join(map(str, expected))}) {spectrum.filters.dtype}, "
            f"got {tuple(high.shape)} {high.dtype}"
        )
    return METHODS[method]
