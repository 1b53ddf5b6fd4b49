"""Convolutional sparse coding by accelerated proximal gradient steps that never go up.

FISTA (Beck & Teboulle 2009) with restarts by function value (O'Donoghue & Candes 2015): a step that would raise an
image's objective is not taken, and the next one goes without momentum, which lowers it. Steps are divided by the
largest eigenvalue at any frequency, the smallest bound there is. Momentum is linear, so that a step costs one transform
of the maps and one back.
"""

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from nndefense.dictionaries.spectrum import Spectrum


class Fista:
    """Minimises 1/2 sum_ch ||sum_m d_m * x_m - s_H||^2 + sparsity sum_m ||x_m||_1 of each image, from x = 0.

    Attributes:
        window: steps between two looks at the objective; in fewer it may hardly fall, and yet be far from its minimum.

    Args:
        target: s_H, turned transforms (B, C, H, W // 2 + 1) as `Spectrum.analyse` gives them.
        spectrum: the dictionary.
        sparsity: > 0.
    """

    window = 10

    def __init__(self, target: Tensor, spectrum: Spectrum, sparsity: float) -> None:
        self.target, self.spectrum, self.sparsity = target, spectrum, sparsity
        self.size = 1 / spectrum.bound
        filters, count = len(spectrum.filters), len(target)
        self.found = spectrum.filters.new_zeros(count, filters, spectrum.height, spectrum.width)
        self.shown = torch.zeros_like(target)
        self.value = spectrum.energy(target)
        self.ahead, self.shown_ahead = self.found, self.shown
        self.pace = torch.ones_like(self.value)

    def step(self) -> None:
        """One step of each image."""
        found, shown = self._descend(self.ahead, self.shown_ahead)
        value = self._evaluate(found, shown)
        rising = ~(value <= self.value)
        if rising.any():
            stay = rising[:, None, None, None]
            found, shown = torch.where(stay, self.found, found), torch.where(stay, self.shown, shown)
            value = torch.where(rising, self.value, value)
        pace = (1 + (1 + 4 * self.pace.square()).sqrt()) / 2
        # Where a step was not taken, what it would have changed is 0, and so is the momentum.
        momentum = ((self.pace - 1) / pace)[:, None, None, None]
        self.ahead = torch.lerp(self.found, found, 1 + momentum)
        self.shown_ahead = shown + momentum * (shown - self.shown)
        self.found, self.shown, self.value = found, shown, value
        self.pace = torch.where(rising, 1, pace)

    def _descend(self, maps: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """The proximal gradient step from maps, and what it shows."""
        slope = self.spectrum.correlate(shown - self.target)
        found = softshrink(torch.sub(maps, slope, alpha=self.size), self.sparsity * self.size)
        return found, self.spectrum.show(found)

    def _evaluate(self, maps: Tensor, shown: Tensor) -> Tensor:
        return self.spectrum.energy(shown - self.target) + self.sparsity * maps.abs().sum(dim=(1, 2, 3))

    def objective(self) -> Tensor:
        """Of each image, (B,): never above what it was before."""
        return self.value

    def settled(self, tolerance: float) -> Tensor:
        """Whether the objective tells how far an image is, (B,) bool: always."""
        return torch.ones_like(self.value, dtype=torch.bool)

    def maps(self) -> Tensor:
        """x, (B, M, H, W)."""
        return self.found

    def keep(self, chosen: Tensor) -> None:
        """Goes on with the images at places (b,) only."""
        for name in ("target", "found", "shown", "value", "ahead", "shown_ahead", "pace"):
            setattr(self, name, getattr(self, name).index_select(0, chosen))
