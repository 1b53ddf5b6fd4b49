"""Convolutional sparse coding by the alternating direction method of multipliers (Boyd et al. 2011, §6.4).

A step solves a ridge problem at every frequency, exactly, and shrinks. It costs as much as one of FISTA and goes
further where a dictionary's gain differs between frequencies, as that of learnt filters does a lot; but the objective
may go up.
"""

import torch
from torch import Tensor
from torch.nn.functional import softshrink

from nndefense.dictionaries.spectrum import Spectrum

# Root mean square that bands are scaled to, so that maps are shrunk by 1: few steps at any contrast and sparsity.
SCALE = 4.0
# Over-relaxation, below 2 (Eckstein & Bertsekas 1992).
RELAXATION = 1.8
_TINY = 1e-24


class ADMM:
    """Minimises what `fista.Fista` does, with the same arguments.

    It works in units of the threshold, sparsity / ridge, where maps are shrunk by 1 and the ridge weighs their sum.
    """

    window = 5

    def __init__(self, target: Tensor, spectrum: Spectrum, sparsity: float) -> None:
        self.spectrum = spectrum
        pixels = target.shape[1] * spectrum.height * spectrum.width
        # Bounded before the root, whose slope at 0 is infinite.
        contrast = (2 * spectrum.energy(target) / pixels).clamp(min=_TINY).sqrt()
        self.unit = (contrast / SCALE)[:, None, None, None]
        self.target = target / self.unit
        self.ridge = sparsity / self.unit
        filters, count = len(spectrum.filters), len(target)
        # Maps before they are shrunk, plus the multipliers: what is shrunk off are the multipliers, the rest is sparse.
        self.both = spectrum.filters.new_zeros(count, filters, spectrum.height, spectrum.width)
        self.shown = torch.zeros_like(target)

    def step(self) -> None:
        """One step of each image."""
        multipliers = self.both.clamp(-1, 1)
        middle = torch.sub(self.both, multipliers, alpha=2)
        shown = self.spectrum.show(middle)
        # The ridge problem's solution is a step from the middle, at every frequency by its own gain.
        share = (self.target - shown) / (self.ridge + self.spectrum.gains)
        self.shown = shown + self.spectrum.gains * share
        self.both = torch.add(self.both, self.spectrum.correlate(share).sub_(multipliers), alpha=RELAXATION)

    def objective(self) -> Tensor:
        """Of each image, (B,)."""
        found = softshrink(self.both, 1.0)
        shown = self.spectrum.show(found)
        fit = self.spectrum.energy(shown - self.target)
        value = fit + self.ridge.flatten() * found.abs().sum(dim=(1, 2, 3))
        self.apart = self.spectrum.energy(shown - self.shown) / value.clamp(min=_TINY)
        return value * self.unit.flatten().square()

    def settled(self, tolerance: float) -> Tensor:
        """Whether the objective last asked for tells how far an image is, (B,) bool.

        It does where the maps of the ridge problem, which fit, and the shrunk ones, which are sparse, show the same.
        """
        return self.apart <= tolerance

    def maps(self) -> Tensor:
        """x, (B, M, H, W)."""
        return softshrink(self.both, 1.0) * self.unit

    def keep(self, chosen: Tensor) -> None:
        """Goes on with the images at places (b,) only."""
        for name in ("target", "unit", "ridge", "both", "shown"):
            setattr(self, name, getattr(self, name).index_select(0, chosen))
