"""Projected gradient descent (Dubey et al. 2019, §3.2; Madry et al. 2018) with a normalised l2 budget."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from nndefense.attacks.base import Attack, Problem, check_choice, check_integer, check_positive
from nndefense.attacks.budget import per_image, project
from nndefense.attacks.noise import random_offsets
from nndefense.attacks.space import l2_norms
from nndefense.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """A start in the ball, then `steps` steps, each followed by the cheap projection.

    steps: M, 10 in the paper. direction: "sign" (the paper) or "l2" (gradient of unit norm).
    step_scale: a step has l2 length step_scale * R / M; the paper gives none, 2.5 is Madry's choice.
    random_start: start at a random point of the ball instead of the image itself; restarts > 1 need it.
    """

    steps: int = 10
    step_scale: float = 2.5
    direction: str = "sign"
    random_start: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_integer("steps", self.steps, low=1)
        check_positive("step_scale", self.step_scale)
        check_choice("direction", self.direction, ("sign", "l2"))
        check_choice("random_start", self.random_start, (True, False))
        if self.restarts > 1 and not self.random_start:
            raise ConfigError("attack option restarts above 1 needs random_start")

    def start(self, problem: Problem, restart: int) -> Tensor:
        """z + R * u * n / ||n||, u ~ U(0, 1), n Gaussian, clipped to the box; z itself without a random start."""
        if not self.random_start:
            return problem.z
        directions, shares = random_offsets(tuple(problem.z.shape), problem.rows, problem.seed, restart)
        lengths = problem.radius.float() * shares.to(problem.z.device)
        offsets = directions.to(problem.z.device)
        return torch.addcmul(problem.z, offsets, per_image(lengths, problem.z)).clamp_(problem.low, problem.high)

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        pixels = problem.z[0].numel()
        length = (self.step_scale / self.steps) * problem.radius
        if self.direction == "sign":
            length = length / sqrt(pixels)
        length = per_image(length, problem.z)
        z = self.start(problem, restart)
        for _ in range(self.steps):
            gradient = self.gradient(problem, z)
            step = gradient.sign_() if self.direction == "sign" else unit_gradient(gradient)
            z = project(torch.addcmul(z, step, length), problem.z, problem.radius, problem.low, problem.high)
        return z, torch.zeros_like(problem.radius, dtype=torch.bool)


def unit_gradient(gradient: Tensor) -> Tensor:
    """Each image's gradient at l2 norm 1, (B, C, H, W); a zero gradient stays zero."""
    # The largest entry becomes 1 first: squares of the tiny gradients of a confident network underflow in
    # float32.
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, 1)
    norm = per_image(l2_norms(scaled), scaled)
    return scaled / torch.where(norm > 0, norm, 1)
