"""A1, soft retrieval: through the votes, whose members are soft in the distance."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from nndefense.attacks.adaptive import Climber, Pursuit
from nndefense.core.options import Positive


@dataclass(frozen=True, kw_only=True)
class SoftRetrieval(Climber):
    """Climbs the log margin of the defence's own probabilities (A1): through soft retrieval, BPDA or draws.

    Where the defence retrieves, the candidates around the current image vote with weights that fall smoothly with the
    distance; `temperatures` says how smoothly. Where it does not, there is one temperature.
    """

    temperatures: Annotated[
        list[Positive],
        Field(min_length=1, description="Of the soft votes, tried in this order on the images that hold."),
    ] = field(default_factory=lambda: [1.0, 0.3, 3.0])

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        target = pursuit.problem.target
        tried: list[float] = []
        for temperature in self.temperatures:
            softened = target.softened(temperature)
            if softened is target and tried:
                break
            tried.append(temperature)
            self.climb(pursuit, self.start(pursuit.part, restart), self.log_margin(softened), steps=self.steps)
