"""Iterative fast gradient sign method (Dubey et al. 2019, §3.2; Kurakin et al. 2017)."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from torch import Tensor

from nndefense.attacks.base import Attack
from nndefense.attacks.problem import Problem
from nndefense.core.options import Count


@dataclass(frozen=True, kw_only=True)
class IFGSM(Attack):
    """Iterative FGSM; in l2 what the steps add up to is scaled to the whole budget (Dubey et al. §3.2)."""

    restarts: int = field(default=1, init=False)
    steps: Annotated[Count, Field(description="Gradient steps M.")] = 10

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        return problem.region.stretch(self.walk(problem))

    def walk(self, problem: Problem) -> Tensor:
        """z after M steps of a length of R / M, (B, 3, H, W): they cannot leave the ball, so they are clipped only."""
        region, z = problem.region, problem.region.center
        length = region.length(1, self.steps)
        for _ in range(self.steps):
            z = region.clip(region.step(z, self.gradient(problem, z), length))
        return z
