"""The images that an attack may choose from: those of a ball around the clean ones, with pixels in [0, 1].

One class per norm, with the same methods, so that an attack is written once: FGSM spends the budget along a direction,
iterative attacks step and project.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from math import sqrt
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from nndefense.attacks.budget import images_within_budget, per_image, project, radii, scale_to_budget
from nndefense.attacks.noise import random_cubes, random_offsets
from nndefense.attacks.space import PixelSpace, l2_norms
from nndefense.axes.ball import Ball
from nndefense.core.errors import ConfigError, InputError

Statistics = tuple[Sequence[float], Sequence[float]]
# Distances of float32 images promise to be <= epsilon * (1 + TOLERANCE).
TOLERANCE = 1e-5


class L2Region:
    """Images within a normalised l2 distance.

    Attributes:
        space: where the distance is measured; z is an image in it.
        center: (B, 3, H, W) the clean images' z. low, high: (1, 3, 1, 1) z of black and of white pixels.
        radius: (B,) float64, largest distance of z.
    """

    def __init__(self, space: PixelSpace, images: Tensor, epsilon: float) -> None:
        self.space, self.images = space, images
        self.center = space.from_images(images)
        self.low, self.high = space.bounds(images)
        self.radius = radii(images, epsilon, space)

    def at(self, places: Tensor) -> "L2Region":
        """The region of some of the images; places: (B,) bool, or (b,) int64."""
        return _taken(self, places, "images", "center", "radius")

    def length(self, scale: float, steps: int) -> Any:
        """l2 length (B,) float64 of one of `steps` steps that together are `scale` times the radius."""
        return (scale / steps) * self.radius

    def step(self, z: Tensor, gradient: Tensor, length: Tensor, direction: str = "sign") -> Tensor:
        """z moved by l2 lengths (B,) along the gradient's signs, or ("l2") along the gradient; not projected."""
        if direction == "sign":
            return torch.addcmul(z, gradient.sign_(), per_image(length / sqrt(z[0].numel()), z))
        return torch.addcmul(z, unit_gradient(gradient), per_image(length, z))

    def project(self, z: Tensor) -> Tensor:
        """The cheap projection, see `budget.project`."""
        return project(z, self.center, self.radius, self.low, self.high)

    def clip(self, z: Tensor) -> Tensor:
        """z with pixels in [0, 1], in place."""
        return z.clamp_(self.low, self.high)

    def spend(self, direction: Tensor) -> tuple[Tensor, Tensor]:
        """As far along a direction as the budget allows, and `saturated` (B,); see `budget.scale_to_budget`."""
        return scale_to_budget(self.center, direction, self.radius, self.low, self.high)

    def stretch(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """What short steps added up to, scaled to the whole budget, and `saturated` (B,)."""
        return self.spend(z - self.center)

    def random_start(self, rows: Tensor, seed: int, restart: int) -> Tensor:
        """z + R * u * n / ||n||, u ~ U(0, 1), n Gaussian, clipped; a function of (seed, row, restart) alone."""
        directions, shares = random_offsets(tuple(self.center.shape), rows, seed, restart)
        lengths = self.radius.float() * shares.to(self.center.device)
        return self.clip(torch.addcmul(self.center, directions.to(self.center.device), per_image(lengths, self.center)))

    def from_images(self, images: Tensor) -> Tensor:
        """z of images."""
        return self.space.from_images(images)

    def to_images(self, z: Tensor) -> Tensor:
        """Images of z, clipped to [0, 1]."""
        return self.space.to_images(z)

    def to_gradient(self, gradient: Tensor) -> Tensor:
        """Gradient by z of a gradient by images."""
        return gradient if self.space.name == "raw01" else gradient * self.space.scale(gradient)

    def finished(self, z: Tensor) -> Tensor:
        """float32 images within the budget, also after rounding."""
        return images_within_budget(self.images, z, self.radius, self.space)

    def spent(self, images: Tensor) -> Tensor:
        """Share of the radius by which images are off the clean ones, (B,) float64; 1 where there is no radius."""
        lengths = l2_norms((images.double() - self.images.double()) / self.space.scale(images.double()))
        return torch.where(self.radius > 0, lengths / self.radius, 1.0)


def l2_region(images: Tensor, radius: float | Sequence[float] | np.ndarray) -> L2Region:
    """Images within an l2 distance that does not depend on their norm: pixels in [0, 1], one radius for all or each.

    InputError for radii of another number, or below 0.
    """
    region = L2Region(PixelSpace(), images, 0.0)
    values = torch.as_tensor(radius, dtype=torch.float64, device=images.device)
    if values.shape not in ((), (len(images),)) or not bool((values >= 0).all()):
        what = f"{values.numel()} radii, the smallest {values.min():g}"
        raise InputError(f"l2 region: {what}; allowed: one number >= 0, or {len(images)}, one of each image")
    region.radius = values.expand(len(images)).clone()
    return region


class LinfRegion:
    """Images none of whose pixels is further than epsilon from the clean one; attributes as of `L2Region`."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self.images = self.center = images.detach()
        self.low, self.high = (self.center - epsilon).clamp(min=0), (self.center + epsilon).clamp(max=1)
        self.epsilon = epsilon
        self.radius = torch.full((len(images),), epsilon, dtype=torch.float64, device=images.device)

    def at(self, places: Tensor) -> "LinfRegion":
        """The region of some of the images; places: (B,) bool, or (b,) int64."""
        return _taken(self, places, "images", "center", "radius", "low", "high")

    def length(self, scale: float, steps: int) -> Any:
        """Largest change of a pixel in one of `steps` steps that together are `scale` times epsilon."""
        return scale * self.epsilon / steps

    def step(self, z: Tensor, gradient: Tensor, length: float, direction: str = "sign") -> Tensor:
        """Every pixel moved by `length` along the sign of the gradient; not projected. ConfigError for "l2"."""
        if direction != "sign":
            raise ConfigError(f"attack option direction is {direction!r}; allowed in ball linf: sign")
        return torch.add(z, gradient.sign_(), alpha=length)

    def project(self, z: Tensor) -> Tensor:
        """The nearest point of the region."""
        return z.clamp(self.low, self.high)

    clip = project

    def spend(self, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Every pixel as far along the sign of a direction as allowed; saturated (B,): none has room for epsilon."""
        signs = torch.nan_to_num(direction).sign()
        z = self.project(torch.add(self.center, signs, alpha=self.epsilon))
        end = self.center.double() + self.epsilon * signs
        free = (signs != 0) & (end >= 0) & (end <= 1)
        return z, ~free.flatten(1).any(dim=1)

    def stretch(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z itself, as steps along signs make use of the cube; saturated as of `spend`."""
        return z, self.spend(z - self.center)[1]

    def random_start(self, rows: Tensor, seed: int, restart: int) -> Tensor:
        """Uniform in the cube, clipped; a function of (seed, row, restart) alone."""
        offsets = random_cubes(tuple(self.center.shape), rows, seed, restart).to(self.center)
        return self.project(torch.add(self.center, offsets, alpha=self.epsilon))

    def from_images(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def to_images(self, z: Tensor) -> Tensor:
        """z itself."""
        return z

    def to_gradient(self, gradient: Tensor) -> Tensor:
        """The gradient itself."""
        return gradient

    def finished(self, z: Tensor) -> Tensor:
        """z, where rounding took a pixel out of the budget one float closer to the clean one."""
        too_far = (z.double() - self.images.double()).abs() > self.epsilon * (1 + TOLERANCE)
        return torch.where(too_far, torch.nextafter(z, self.images), z)

    def spent(self, images: Tensor) -> Tensor:
        """Share of epsilon by which some pixel is off the clean one, (B,) float64; 1 where epsilon is 0."""
        lengths = (images.double() - self.images.double()).abs().flatten(1).amax(dim=1)
        return torch.where(self.radius > 0, lengths / self.radius, 1.0)


Region = L2Region | LinfRegion
AnyRegion = TypeVar("AnyRegion", L2Region, LinfRegion)


def _taken(region: AnyRegion, places: Tensor, *names: str) -> AnyRegion:
    found = copy(region)
    for name in names:
        setattr(found, name, taken(getattr(region, name), places))
    return found


def taken(values: Tensor, places: Tensor) -> Tensor:
    """Some of the first dimension's entries, in the same memory format; places: bool or int64, on any device."""
    found = values[places.to(values.device)]
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return found.contiguous(memory_format=torch.channels_last) if last and not values.is_contiguous() else found


def region_of(
    ball: Ball, statistics: Statistics | None, images: Tensor, epsilon: float, norm: float | None = None
) -> Region:
    """What an attack on some images may choose from.

    Args:
        ball: norm and pixel space.
        statistics: the data set's mean and std per channel; needed for standardised pixels only.
        images: (B, 3, H, W) float32 in [0, 1].
        epsilon: budget, >= 0: normalised l2 distance, or largest change of a pixel.
        norm: l2 only; the norm that every budget is a share of, instead of each image's own.

    Raises:
        ConfigError: standardised pixels without statistics.
    """
    if ball.norm == "linf":
        return LinfRegion(images, epsilon)
    space = space_of(ball, statistics)
    return L2Region(space if norm is None else replace(space, budget_norm=norm), images, epsilon)


def space_of(ball: Ball, statistics: Statistics | None) -> PixelSpace:
    """The pixel space of a ball."""
    return PixelSpace(ball.space, *(statistics or (None, None)))


def distances(images: Tensor, adversarial: Tensor, statistics: Statistics | None) -> dict[str, Tensor]:
    """Distances (B,) float64 by the name of the ball; standardized: NaN without statistics."""
    raw = PixelSpace("raw01").delta(images, adversarial)
    standardized = torch.full_like(raw, float("nan"))
    if statistics is not None:
        standardized = PixelSpace("standardized", *statistics).delta(images, adversarial)
    linf = (adversarial.double() - images.double()).abs().flatten(1).amax(dim=1)
    return {"raw01": raw, "standardized": standardized, "linf": linf}


def unit_gradient(gradient: Tensor) -> Tensor:
    """Each image's gradient at l2 norm 1, (B, C, H, W); a zero gradient stays zero."""
    # The largest entry becomes 1 first: squares of the tiny gradients of a confident network underflow in
    # float32.
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, 1)
    norm = per_image(l2_norms(scaled), scaled)
    return scaled / torch.where(norm > 0, norm, 1)
