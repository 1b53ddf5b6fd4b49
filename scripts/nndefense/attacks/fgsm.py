"""Fast gradient sign method (Dubey et al. 2019, §3.2; Goodfellow et al. 2015) with a normalised l2 budget."""

from dataclasses import dataclass, field

from torch import Tensor

from nndefense.attacks.base import Attack, Problem
from nndefense.attacks.budget import scale_to_budget


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """One step along the sign of the gradient, as long as the budget allows within the pixel range."""

    restarts: int = field(default=1, init=False)

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        direction = self.gradient(problem, problem.z).sign_()
        return scale_to_budget(problem.z, direction, problem.radius, problem.low, problem.high)
