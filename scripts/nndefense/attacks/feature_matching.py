"""A3, targeted feature matching: towards the centre of a wrong class, then on through the votes."""

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from nndefense.attacks.adaptive import Climber, Objective, Pursuit
from nndefense.attacks.guide_samples import landmarks_of, squared_distances
from nndefense.attacks.problem import Problem
from nndefense.attacks.region import taken
from nndefense.core.options import Count


@dataclass(frozen=True, kw_only=True)
class FeatureMatching(Climber):
    """Moves an image's code to the mean code of each of the nearest wrong classes, then climbs the log margin (A3)."""

    targets: Annotated[Count, Field(description="Wrong classes that are tried, the nearest first.")] = 2

    def prepare(self, problem: Problem) -> Problem:
        found = landmarks_of(problem)
        classes = found["classes"].unique()
        centers = torch.stack([found["codes"][found["classes"] == one].mean(dim=0) for one in classes])
        return replace(problem, context={**problem.context, "centers": centers, "names": classes})

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        problem = pursuit.problem
        centers, names = problem.context["centers"], problem.context["names"]
        with torch.no_grad():
            codes = problem.target.embed(problem.images, rows=problem.rows, seed=problem.seed)
        distances = squared_distances(codes, centers).masked_fill(names == problem.labels[:, None], torch.inf)
        ranked = distances.argsort(dim=1)
        wrong = int((names != problem.labels[:, None]).sum(dim=1).min())
        for rank in range(min(self.targets, wrong)):
            goals = centers[ranked[:, rank]]
            start = self.start(pursuit.part, restart)
            z = self.climb(pursuit, start, self._towards(pursuit, goals), steps=self.steps // 2, margin=False)
            rest = self.steps - self.steps // 2
            self.climb(pursuit, z, self.log_margin(problem.target), steps=rest)

    def _towards(self, pursuit: Pursuit, goals: Tensor) -> Objective:
        def objective(part: Problem, images: Tensor, *, seed: int, memo: MutableMapping[str, Any]) -> Tensor:
            codes = part.target.embed(images, rows=part.rows, seed=seed, draws=self.draws, memo=memo)
            return -(codes - taken(goals, pursuit.active)).square().sum(dim=1)

        return objective
