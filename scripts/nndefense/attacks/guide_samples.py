"""A2, guide samples (after Sitawarin & Wagner 2019): wrong neighbours are drawn in, right ones pushed out."""

from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from nndefense.attacks.adaptive import Climber, Objective, Pursuit
from nndefense.attacks.problem import Problem
from nndefense.core.options import Count, NotNegative


@dataclass(frozen=True, kw_only=True)
class GuideSamples(Climber):
    """Draws the nearest codes of the nearest wrong class into the ball of the K nearest, pushes right ones out (A2).

    It starts at the image and, where the database can be shown, at the nearest neighbour of a wrong class. The classes
    of codes are those that the defence's network gives them. Of a defence that does not retrieve, codes are class
    probabilities, and guides the certain answers.
    """

    guides: Annotated[Count, Field(description="Wrong, and as many right, codes that are drawn in and pushed out.")] = (
        50
    )
    push: Annotated[
        NotNegative, Field(description="Weight of pushing right ones out, against drawing wrong ones in.")
    ] = 1.0

    def prepare(self, problem: Problem) -> Problem:
        return replace(problem, context={**problem.context, **landmarks_of(problem)})

    def pursue(self, pursuit: Pursuit, restart: int) -> None:
        start = self.start(pursuit.part, restart)
        self.climb(pursuit, start, self._objective(), steps=self.steps, margin=False)
        neighbors = self._neighbors(pursuit.part) if restart == 0 and len(pursuit.active) else None
        if neighbors is not None:
            self.climb(pursuit, neighbors, self._objective(), steps=self.steps, margin=False)

    def _neighbors(self, part: Problem) -> Tensor | None:
        """The nearest neighbours of a wrong class, brought into the region; None where there are no pictures."""
        stored, classes = part.context["codes"], part.context["classes"]
        with torch.no_grad():
            codes = part.target.embed(part.images, rows=part.rows, seed=part.seed)
        distances = squared_distances(codes, stored).masked_fill(classes == part.labels[:, None], torch.inf)
        pictures = part.target.pictures(distances.argmin(dim=1))
        return None if pictures is None else part.region.project(part.region.from_images(pictures))

    def _objective(self) -> Objective:
        def objective(part: Problem, images: Tensor, *, seed: int, memo: MutableMapping[str, Any]) -> Tensor:
            codes = part.target.embed(images, rows=part.rows, seed=seed, draws=self.draws, memo=memo)
            if "guides" not in memo:
                memo["guides"] = self._choose(part, codes.detach())
            wrong, right, reach = memo["guides"]
            drawn = ((codes[:, None] - wrong).square().sum(dim=2) / reach - 1).clamp_min(0).mean(dim=1)
            pushed = (1 - (codes[:, None] - right).square().sum(dim=2) / reach).clamp_min(0).mean(dim=1)
            return -drawn - self.push * pushed

        return objective

    def _choose(self, part: Problem, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (B, G, d) of the nearest wrong class and of the right one; (B, 1) squared radius of the K nearest."""
        stored, classes, k = (part.context[name] for name in ("codes", "classes", "k"))
        distances = squared_distances(codes, stored)
        own = classes == part.labels[:, None]
        reach = distances.topk(min(k, len(stored)), largest=False).values[:, -1:]
        nearest = classes[distances.masked_fill(own, torch.inf).argmin(dim=1)]
        wrong = self._nearest(distances, classes == nearest[:, None])
        return (
            stored[wrong],
            stored[self._nearest(distances, own)],
            reach.clamp_min(torch.finfo(reach.dtype).tiny * 1e6),
        )

    def _nearest(self, distances: Tensor, allowed: Tensor) -> Tensor:
        """Places (B, G) of the nearest allowed codes; the last is repeated where there are fewer."""
        ordered, places = distances.masked_fill(~allowed, torch.inf).topk(
            min(self.guides, distances.shape[1]), largest=False
        )
        last = ordered.isfinite().sum(dim=1, keepdim=True).clamp_min(1) - 1
        position = torch.arange(places.shape[1], device=places.device).expand_as(places).minimum(last)
        return places.gather(1, position)


def landmarks_of(problem: Problem) -> dict[str, Any]:
    """`codes` (M, d), `classes` (M,) and `k` of the attacked system, as its `landmarks` gives them."""
    first = problem.at(torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        width = first.model(first.images).shape[1]
    codes, classes, k = problem.target.landmarks(width)
    device = problem.images.device
    return {"codes": codes.to(device), "classes": classes.to(device), "k": k}


def squared_distances(codes: Tensor, stored: Tensor) -> Tensor:
    """(B, M) of codes (B, d) and (M, d), the same whatever else is in the batch."""
    return torch.cdist(codes, stored, compute_mode="donot_use_mm_for_euclid_dist").square()
