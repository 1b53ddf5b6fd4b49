"""Iterative fast gradient sign method (Dubey et al. 2019, §3.2; Kurakin et al. 2017) with a normalised l2 budget."""

from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor

from nndefense.attacks.base import Attack, Problem, check_integer
from nndefense.attacks.budget import per_image, scale_to_budget


@dataclass(frozen=True, kw_only=True)
class IFGSM(Attack):
    """Sign steps from the image itself; the perturbation they add up to is then scaled to the budget.

    steps: M, 10 in the paper.
    """

    restarts: int = field(default=1, init=False)
    steps: int = 10

    def __post_init__(self):
        super().__post_init__()
        check_integer("steps", self.steps, low=1)

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        direction = self.walk(problem) - problem.z
        return scale_to_budget(problem.z, direction, problem.radius, problem.low, problem.high)

    def walk(self, problem: Problem) -> Tensor:
        """z after M steps of l2 length R / M, (B, 3, H, W): no projection, as they cannot leave the ball."""
        length = per_image(problem.radius / (self.steps * sqrt(problem.z[0].numel())), problem.z)
        z = problem.z
        for _ in range(self.steps):
            step = self.gradient(problem, z).sign_()
            z = torch.addcmul(z, step, length).clamp_(problem.low, problem.high)
        return z
