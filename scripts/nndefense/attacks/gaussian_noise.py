"""The noise floor: random directions of the whole budget, which an attack must beat to be one."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from nndefense.attacks.adaptive import Adaptive, Pursuit
from nndefense.attacks.noise import random_offsets
from nndefense.core.options import Count


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Adaptive):
    """Gaussian noise that spends the whole budget; the draws are tried one after the other."""

    tries: Annotated[Count, Field(description="Noise images tried for each image.")] = 3

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        for number in range(self.tries):
            part = pursuit.part
            if not len(part.images):
                break
            draw = restart * self.tries + number
            directions, _ = random_offsets(tuple(part.images.shape), part.rows, part.seed, draw)
            pursuit.moved[pursuit.active] = True
            pursuit.offer(part.region.spend(directions.to(part.images.device))[0])
