"""A5, transfer: l2 steps on other networks, tried on the defence.

Where such steps lead does not depend on the defence, so a workflow takes them once, for all defences.
"""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nndefense.attacks.adaptive import Climber, Objective, Pursuit, lead_of
from nndefense.attacks.problem import Problem
from nndefense.attacks.region import taken


class Unasked(Pursuit):
    """A pursuit in which no defence is asked, so that every image holds to the end."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, draws=1)

    def offer(self, z: Tensor, likely: Tensor | None = None) -> Tensor:
        return torch.ones(len(z), dtype=torch.bool, device=z.device)


@dataclass(frozen=True, kw_only=True)
class Transfer(Climber):
    """Climbs the log margin of surrogate networks, one after the other and then of all together (A5).

    The defence is asked where a climb ends. Context: "surrogates", networks from images (B, 3, H, W) in [0, 1] to
    logits (B, C) of the same classes; if there are, "climbs", the `Climbs` that were made before.
    """

    refresh: int = field(default=1, init=False)
    draws: int = field(default=1, init=False)
    slack: float = field(default=0.0, init=False)

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        climbs = pursuit.problem.context.get("climbs")
        made = climbs and climbs.of(self, pursuit.problem)
        objectives = self.objectives(pursuit.problem)
        for number, objective in enumerate(objectives):
            if not len(pursuit.active):
                break
            if made:
                end, moved = (
                    taken(one, pursuit.active) for one in (made[0][restart * len(objectives) + number], made[1])
                )
            else:
                end, moved = self._end(pursuit.part, restart, objective)
            pursuit.moved[pursuit.active] |= moved
            pursuit.offer(end)

    def ends(self, problem: Problem) -> tuple[list[Tensor], Tensor]:
        """Where climbs end, z (B, C, H, W) each: of every start, on each network and then on all of them together.

        Also whether there was a gradient that was not 0, (B,) bool. The problem's target is not asked.
        """
        objectives = self.objectives(problem)
        found = [self._end(problem, restart, one) for restart in range(self.restarts) for one in objectives]
        ends, moved = zip(*found, strict=True)
        return list(ends), torch.stack(moved).any(dim=0)

    def objectives(self, problem: Problem) -> list[Objective]:
        """What is climbed: the margin of each network, and of all together where there are several."""
        networks = list(self.required(problem, "surrogates"))
        together = [networks] if len(networks) > 1 else []
        return [_mean_margin(chosen) for chosen in [*([one] for one in networks), *together]]

    def _end(self, problem: Problem, restart: int, objective: Objective) -> tuple[Tensor, Tensor]:
        alone = Unasked(problem)
        z = self.climb(alone, self.start(problem, restart), objective, steps=self.steps, margin=False)
        return z, alone.moved


@dataclass(frozen=True)
class Climbs:
    """Where climbs of a `Transfer` end that were made once for all defences.

    Attributes:
        attack: whose climbs they are.
        rows: (n,) int64, ascending, of the images.
        budgets: for each one the images' radii (n,) float64, and `Transfer.ends`: (m, n, C, H, W), and (n,) bool.
    """

    attack: Transfer
    rows: Tensor
    budgets: Sequence[tuple[Tensor, Tensor, Tensor]]

    def of(self, attack: Transfer, problem: Problem) -> tuple[list[Tensor], Tensor] | None:
        """`Transfer.ends` of a problem; None where other climbs were made, of other images or within another budget."""
        places = torch.searchsorted(self.rows, problem.rows.cpu()).clamp(max=len(self.rows) - 1)
        if attack != self.attack or not torch.equal(self.rows[places], problem.rows.cpu()):
            return None
        device, radius = problem.images.device, problem.region.radius.cpu()
        last = problem.images.is_contiguous(memory_format=torch.channels_last)
        kept = torch.channels_last if last else torch.contiguous_format
        for radii, ends, moved in self.budgets:
            if torch.allclose(radii[places], radius, rtol=1e-9, atol=0.0):
                found = [one[places].to(device).contiguous(memory_format=kept) for one in ends]
                return found, moved[places].to(device)
        return None


def _mean_margin(networks: Sequence[Callable[[Tensor], Tensor]]) -> Objective:
    def objective(part: Problem, images: Tensor, *, seed: int, memo: MutableMapping[str, Any]) -> Tensor:
        total: Any = sum(lead_of(network(images), part.labels) for network in networks)
        return total / len(networks)

    return objective
