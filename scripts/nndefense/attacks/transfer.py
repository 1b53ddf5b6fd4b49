"""A5, transfer: l2 steps on other networks, tried on the defence."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nndefense.attacks.adaptive import Climber, Objective, Pursuit, lead_of
from nndefense.attacks.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Transfer(Climber):
    """Climbs the log margin of surrogate networks, one after the other and then of all together (A5).

    Context: "surrogates", networks from images (B, 3, H, W) in [0, 1] to logits (B, C) of the same classes.
    """

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        networks = list(self.required(pursuit.problem, "surrogates"))
        for chosen in [[one] for one in networks] + ([networks] if len(networks) > 1 else []):
            start = self.start(pursuit.part, restart)
            self.climb(pursuit, start, _mean_margin(chosen), steps=self.steps, margin=False)


def _mean_margin(networks: Sequence[Callable[[Tensor], Tensor]]) -> Objective:
    def objective(part: Problem, images: Tensor, *, seed: int, memo: MutableMapping[str, Any]) -> Tensor:
        total: Any = sum(lead_of(network(images), part.labels) for network in networks)
        return total / len(networks)

    return objective
