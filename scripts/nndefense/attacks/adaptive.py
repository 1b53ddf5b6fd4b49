"""What attacks that go through a defence have in common: they stop at the first image that breaks the exact defence.

They climb an objective of the defence's surrogate; every few steps the exact defence is asked. An image that breaks it
leaves, so that the work goes to those that hold (spec of Carlini et al. 2019: the strongest attack counts).
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from nndefense.attacks.base import Attack, value_and_gradient
from nndefense.attacks.problem import Attackable, Problem
from nndefense.attacks.region import taken
from nndefense.attacks.steps import SCHEDULES
from nndefense.core.options import Count, NotNegative
from nndefense.core.seeds import derive_seed


class Objective(Protocol):
    """What a climb ascends."""

    def __call__(self, part: Problem, images: Tensor, *, seed: int, memo: MutableMapping[str, Any]) -> Tensor:
        """Values (B,) of images (B, 3, H, W), differentiable by them.

        Args:
            part: the problem of these images.
            images: (B, 3, H, W).
            seed: of this step's draws.
            memo: what is kept until neighbours are looked up anew.
        """


class Pursuit:
    """The images of a problem, of which some have been broken.

    Args:
        problem: of all images.
        draws: of the exact defence; where it is random an image must break it in each.

    Attributes:
        best: (B, 3, H, W) float32 in [0, 1], of each image the candidate that came furthest.
        lead: (B,) the largest lead of a wrong class that it reached, in probability; above 0: broken.
        active: (b,) int64, places of the images that hold. part: their problem.
        moved: (B,) bool, whether there was a gradient that was not 0.
    """

    def __init__(self, problem: Problem, draws: int) -> None:
        self.problem, self.part, self.draws = problem, problem, draws if problem.target.random else 1
        self.best = problem.images.clone()
        self.lead = torch.full((len(problem.images),), -torch.inf, device=problem.images.device)
        self.broken = torch.zeros(len(problem.images), dtype=torch.bool, device=problem.images.device)
        self.moved = torch.zeros_like(self.broken)
        self.active = torch.arange(len(problem.images), device=problem.images.device)

    def offer(self, z: Tensor, likely: Tensor | None = None) -> Tensor:
        """Ask the exact defence about candidates of the images that hold; those that it breaks on leave.

        Args:
            z: (b, 3, H, W).
            likely: (b,) bool, for which it is worth asking; None: all.

        Returns (b,) bool: which images hold still.
        """
        places = torch.arange(len(z), device=z.device) if likely is None else likely.nonzero()[:, 0]
        holds = torch.ones(len(z), dtype=torch.bool, device=z.device)
        if not len(places):
            return holds
        part = self.part.at(places)
        images = part.region.finished(z[places])
        lead, broken = exact_lead(part, images, self.draws)
        holds[places] = ~broken
        better = (lead > self.lead[self.active[places]]) | broken
        own = self.active[places[better]]
        self.best[own], self.lead[own] = images[better], lead[better]
        self.broken[self.active[places[broken]]] = True
        self.active, self.part = self.active[holds], self.part.at(holds) if broken.any() else self.part
        return holds


def exact_lead(problem: Problem, images: Tensor, draws: int = 1) -> tuple[Tensor, Tensor]:
    """How far a wrong class leads in the exact defence's probabilities, (B,), and whether it answers wrong, (B,) bool.

    The least of several draws counts, and it is wrong where it is in each: an image is asked about until it is right.
    Draws are those of the attacker: an evaluation has another seed.
    """
    lead = torch.full((len(images),), torch.inf, device=images.device)
    wrong = torch.ones(len(images), dtype=torch.bool, device=images.device)
    for number in range(draws):
        places = wrong.nonzero()[:, 0]
        if not len(places):
            break
        part, seed = problem.at(places), derive_seed(problem.seed, "chosen", number)
        shares = part.target.probabilities(taken(images, places), rows=part.rows, seed=seed)
        lead[places] = lead_of(shares, part.labels).minimum(lead[places])
        wrong[places] = shares.argmax(dim=1) != part.labels
    return lead, wrong


def lead_of(scores: Tensor, labels: Tensor) -> Tensor:
    """max_{k != y} s_k - s_y of scores (B, C), (B,) float32: above 0 where the class is wrong."""
    scores = scores.float()
    own = scores.gather(1, labels[:, None])[:, 0]
    return scores.scatter(1, labels[:, None], -torch.inf).amax(dim=1) - own


@dataclass(frozen=True, kw_only=True)
class Adaptive(Attack):
    """Base of attacks that go through the defence. A subclass implements `pursue`."""

    keeps: ClassVar[bool] = True

    restarts: Annotated[
        Count, Field(description="Starts for each image that holds; the first is the image itself, others are random.")
    ] = 1
    chosen: Annotated[
        Count, Field(description="Draws of a random defence that an image must break, each, before it counts.")
    ] = 3

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        """One start: offers candidates of the images that hold."""
        raise NotImplementedError

    def search(self, problem: Problem, measure_loss: bool) -> tuple[Tensor, Tensor, Tensor]:
        pursuit = Pursuit(problem, self.chosen)
        # An image that is wrong without an attack stays as it is.
        pursuit.offer(problem.region.center)
        for restart in range(self.restarts):
            if len(pursuit.active):
                self.pursue(pursuit, restart)
        stuck = ~(pursuit.moved | pursuit.broken)
        if problem.sight is not None:
            problem.sight.told(~stuck)
        return pursuit.best, self._loss(problem, pursuit.best, measure_loss), stuck

    def start(self, problem: Problem, restart: int) -> Tensor:
        """The images' z for the first start, else a random point of the ball."""
        region = problem.region
        return region.random_start(problem.rows, problem.seed, restart) if restart else region.center


@dataclass(frozen=True, kw_only=True)
class Climber(Adaptive):
    """Base of adaptive attacks that follow gradients."""

    steps: Annotated[Count, Field(description="Gradient steps of a start.")] = 40
    schedule: Annotated[
        Literal["momentum", "apgd"],
        Field(description="`momentum` 0.75 with steps along a cosine from the radius to 0.05 of it, or Auto-PGD."),
    ] = "momentum"
    direction: Annotated[
        Literal["l2", "sign"], Field(description="Steps along the gradient, or along its signs (much weaker).")
    ] = "l2"
    refresh: Annotated[
        Count, Field(description="Steps after which the exact defence is asked, and neighbours are looked up anew.")
    ] = 5
    draws: Annotated[
        Count, Field(description="Draws of a random defence a step's gradient is the mean of; every step has its own.")
    ] = 1
    slack: Annotated[
        NotNegative,
        Field(description="The exact defence is asked where the surrogate's log margin lacks at most this (nats)."),
    ] = 1.0

    def climb(self, pursuit: Pursuit, z: Tensor, objective: Objective, *, steps: int, margin: bool = True) -> Tensor:
        """Steps up an objective from z (b, 3, H, W), offering candidates; the points of those that hold at the end.

        Args:
            pursuit: of the images.
            z: where to start, one for each image that holds.
            objective: what is ascended.
            steps: their number.
            margin: whether the objective is the surrogate's log margin, so that it tells who is worth asking about.
        """
        stepper = SCHEDULES[self.schedule](steps, self.direction)
        memo: dict[str, Any] = {}
        for step in range(1, steps + 1):
            if not len(z):
                break
            part, seed = pursuit.part, derive_seed(pursuit.part.seed, "step", step)
            ascended = partial(objective, part, seed=seed, memo=memo)
            value, gradient = value_and_gradient(ascended, part.region.to_images(z), part.computing)
            pursuit.moved[pursuit.active] |= (gradient != 0).flatten(1).any(dim=1)
            z = stepper.next(part.region, z, part.region.to_gradient(gradient.float()), value)
            if step % self.refresh == 0 or step == steps:
                memo = {}
                likely = value > -self.slack if margin and step < steps else None
                holds = pursuit.offer(z, likely)
                if not holds.all():
                    z, stepper = taken(z, holds), stepper.at(holds)
        return z

    def log_margin(self, target: Attackable) -> Objective:
        """log max_{k != y} P_k - log P_y of a system's surrogate."""

        def objective(part: Problem, images: Tensor, *, seed: int, memo: MutableMapping[str, Any]) -> Tensor:
            logits = target.surrogate(images, rows=part.rows, seed=seed, draws=self.draws, memo=memo)
            return lead_of(logits, part.labels)

        return objective
