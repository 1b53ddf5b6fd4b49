"""Fast gradient sign method (Dubey et al. 2019, §3.2; Goodfellow et al. 2015)."""

from dataclasses import dataclass, field

from torch import Tensor

from nndefense.attacks.base import Attack
from nndefense.attacks.problem import Problem


@dataclass(frozen=True, kw_only=True)
class FGSM(Attack):
    """Fast gradient sign method, one step that spends the whole budget (Dubey et al. §3.2)."""

    restarts: int = field(default=1, init=False)

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        return problem.region.spend(self.gradient(problem, problem.region.center).sign_())
