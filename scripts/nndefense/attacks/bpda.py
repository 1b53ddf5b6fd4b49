"""Attacks through purifiers: as if nothing was purified (BPDA), and through a fixed number of a purifier's steps.

Athalye, Carlini & Wagner 2018, §4. What the purifier looks up, such as the dictionary of an image, is looked up again
at every step.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from nndefense.attacks.adaptive import Climber, Pursuit
from nndefense.attacks.problem import Attackable
from nndefense.core.options import Count


@dataclass(frozen=True, kw_only=True)
class StraightThrough(Climber):
    """Climbs the log margin of the defence's surrogate: of a purifier, the answer to the purified image.

    Its gradient is taken as the image's own (BPDA with the identity).
    """

    refresh: Annotated[
        Count,
        Field(description="Steps after which the exact defence is asked, and what it looks up is looked up anew."),
    ] = 1

    def attacked(self, target: Attackable) -> Attackable:
        """What is differentiated in place of the defence."""
        return target

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        objective = self.log_margin(self.attacked(pursuit.problem.target))
        self.climb(pursuit, self.start(pursuit.part, restart), objective, steps=self.steps)


@dataclass(frozen=True, kw_only=True)
class Unrolled(StraightThrough):
    """Climbs the log margin through a fixed number of the purifier's iterations; BPDA where it has none."""

    def attacked(self, target: Attackable) -> Attackable:
        return target.unrolled()
