"""How iterative attacks step: with momentum and a falling step length, or as APGD, which adapts its own.

A stepper is made for the images of a region and then asked for one step after the other; `at` keeps some of the images.
"""

from collections.abc import Callable
from copy import copy
from math import ceil, cos, pi
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from nndefense.attacks.budget import per_image
from nndefense.attacks.region import Region, taken, unit_gradient

MOMENTUM = 0.75
# Length of the last step over that of the first, which is the radius.
SHORTEST = 0.05


class Stepper(Protocol):
    """A way to step."""

    def next(self, region: Region, z: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
        """The next point (B, C, H, W), within the region.

        Args:
            region: of the images that are left.
            z: (B, C, H, W) where they are.
            gradient: (B, C, H, W) of the objective there, by z; the largest is wanted.
            value: (B,) of the objective there.
        """

    def at(self, places: Tensor) -> "Stepper":
        """The stepper of some of the images; places: (B,) bool."""


AnyStepper = TypeVar("AnyStepper", bound=Stepper)


class Momentum:
    """Steps along a running sum of unit gradients, from the radius down to a share of it along a cosine.

    Args:
        steps: how many there will be.
        direction: "l2", along the sum; "sign", along its signs.
    """

    def __init__(self, steps: int, direction: str = "l2") -> None:
        self.steps, self.direction, self.step = steps, direction, 0
        self.velocity: Any = 0.0

    def next(self, region: Region, z: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
        progress = self.step / max(self.steps - 1, 1)
        share = SHORTEST + (1 - SHORTEST) * (1 + cos(pi * progress)) / 2
        self.velocity = MOMENTUM * self.velocity + unit_gradient(gradient)
        self.step += 1
        return region.project(region.step(z, self.velocity.clone(), region.length(share, 1), self.direction))

    def at(self, places: Tensor) -> "Momentum":
        return _taken(self, places, "velocity")


class APGD:
    """Auto-PGD (Croce & Hein 2020, Algorithm 1), whose step is halved where the objective has stopped to rise.

    Args:
        steps: how many there will be.
        direction: as of `Momentum`.
    """

    ALPHA, RHO = 0.75, 0.75

    def __init__(self, steps: int, direction: str = "l2") -> None:
        self.direction, self.step = direction, 0
        self.checkpoints = _checkpoints(steps)
        self.scale: Any = None

    def next(self, region: Region, z: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
        value = value.double()
        if self.scale is None:
            self.scale = torch.full_like(value, 2.0)
            self.best, self.best_z, self.best_gradient, self.before = value, z, gradient, z
            self.rises, self.last, self.halved = torch.zeros_like(value), value, torch.zeros_like(value).bool()
            self.best_before = value
        self.rises = self.rises + (value > self.last)
        better = value > self.best
        self.best = torch.where(better, value, self.best)
        self.best_z = _choose(better, z, self.best_z)
        self.best_gradient = _choose(better, gradient, self.best_gradient)
        self.last = value
        if self.step in self.checkpoints[1:]:
            z, gradient = self._check(z, gradient)
        moved = region.project(region.step(z, gradient.clone(), region.length(1, 1) * self.scale, self.direction))
        if self.step:
            moved = region.project(z + self.ALPHA * (moved - z) + (1 - self.ALPHA) * (z - self.before))
        self.before = z
        self.step += 1
        return moved

    def _check(self, z: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        place = self.checkpoints.index(self.step)
        span = self.checkpoints[place] - self.checkpoints[place - 1]
        stale = ~self.halved & (self.best_before >= self.best)
        halve = (self.rises < self.RHO * span) | stale
        self.scale = torch.where(halve, self.scale / 2, self.scale)
        self.halved, self.best_before, self.rises = halve, self.best, torch.zeros_like(self.rises)
        self.last = torch.where(halve, self.best, self.last)
        return _choose(halve, self.best_z, z), _choose(halve, self.best_gradient, gradient)

    def at(self, places: Tensor) -> "APGD":
        if self.scale is None:
            return copy(self)
        kept = ("scale", "best", "best_z", "best_gradient", "before", "rises", "last", "halved", "best_before")
        return _taken(self, places, *kept)


def _checkpoints(steps: int) -> list[int]:
    """p_0 = 0, p_1 = .22, p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06), in steps."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # A sum of shares may lie a little above a whole number of steps.
    found = (ceil(round(share * steps, 9)) for share in shares if share < 1)
    return list(dict.fromkeys(found))


def _choose(where: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(per_image(where, one).bool(), one, other)


def _taken(stepper: AnyStepper, places: Tensor, *names: str) -> AnyStepper:
    found = copy(stepper)
    for name in names:
        value = getattr(stepper, name)
        setattr(found, name, taken(value, places) if isinstance(value, Tensor) else value)
    return found


SCHEDULES: dict[str, Callable[[int, str], Stepper]] = {"momentum": Momentum, "apgd": APGD}
