"""Projected gradient descent (Dubey et al. 2019, §3.2; Madry et al. 2018)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nndefense.attacks.base import Attack
from nndefense.attacks.problem import Problem
from nndefense.core.errors import ConfigError
from nndefense.core.options import Count, Positive


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Projected gradient descent with sign steps (Dubey et al. §3.2; Madry et al.)."""

    restarts: Annotated[Count, Field(description="Random starts; the one of largest loss is kept for each image.")] = 1
    steps: Annotated[Count, Field(description="Gradient steps M.")] = 10
    step_scale: Annotated[
        Positive,
        Field(description="Length of a step, times `radius / steps`. The paper gives none; 2.5 is Madry's choice."),
    ] = 2.5
    direction: Annotated[
        Literal["sign", "l2"],
        Field(description="`sign` of the gradient, or the gradient scaled to unit l2 length (not in l-infinity)."),
    ] = "sign"
    random_start: Annotated[
        bool, Field(description="Start at a random point of the ball instead of the image; several restarts need it.")
    ] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts > 1 and not self.random_start:
            raise ConfigError("attack option restarts above 1 needs random_start")

    def start(self, problem: Problem, restart: int) -> Tensor:
        """A random point of the ball, or the image's z without a random start."""
        region = problem.region
        return region.random_start(problem.rows, problem.seed, restart) if self.random_start else region.center

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        region, z = problem.region, self.start(problem, restart)
        length = region.length(self.step_scale, self.steps)
        for _ in range(self.steps):
            z = region.project(region.step(z, self.gradient(problem, z), length, self.direction))
        return z, torch.zeros_like(region.radius, dtype=torch.bool)
