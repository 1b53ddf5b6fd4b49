"""Carlini-Wagner l2 (Dubey et al. 2019, App. A; Carlini & Wagner 2017), scaled to a normalised l2 budget.

No library's search fits: foolbox gives a black image where it fails, moves an image that is wrong already along
rounding errors, and knows the [0, 1] norm alone; torchattacks searches no constant.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from nndefense.attacks.base import Attack, frozen
from nndefense.attacks.budget import per_image
from nndefense.attacks.problem import Problem, Target, make_problem
from nndefense.attacks.region import Statistics, region_of
from nndefense.attacks.space import l2_norms
from nndefense.axes.ball import Ball
from nndefense.core.options import Count, NotNegative, Positive

# Black and white lie at infinity in tanh space; this keeps them at +-7.25, as foolbox does.
_SHRINK = 0.999999


@dataclass(frozen=True, kw_only=True)
class CW(Attack):
    """Carlini-Wagner l2, the smallest perturbation that changes the class, scaled to the whole budget (App. A).

    Minimises ||z' - z||^2 + c * max(0, Z_y - max_{k != y} Z_k + confidence) over images in (0, 1), with Adam in
    tanh space and a search for the smallest c that succeeds, for each image apart. An image for which every c
    fails is moved along its last iterate. One that the model gets wrong already has the smallest perturbation
    0; it is moved along the steepest fall of Z_y - max Z_k. Costs `binary_search_steps * steps` passes.
    """

    restarts: int = field(default=1, init=False)
    binary_search_steps: Annotated[
        Count, Field(description="Values of the constant c tried per image. Carlini & Wagner, 9.")
    ] = 5
    steps: Annotated[Count, Field(description="Adam steps for each value of c. Carlini & Wagner, 10000.")] = 50
    learning_rate: Annotated[Positive, Field(description="Adam's learning rate, in tanh space.")] = 0.01
    initial_constant: Annotated[
        Positive, Field(description="First value of c; it grows tenfold until one succeeds.")
    ] = 0.01
    confidence: Annotated[
        NotNegative, Field(description="Lead of the wrong class that counts as success, in logits.")
    ] = 0.0

    def objective(self, problem: Problem, images: Tensor) -> Tensor:
        """Minus the margin Z_y - max_{k != y} Z_k, (B,)."""
        return -margin(problem.model(images), problem.labels)

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        direction = problem.context.get("direction")
        direction = self._direction(problem) if direction is None else direction.to(problem.region.center)
        return problem.region.spend(direction)

    def find_direction(
        self,
        target: Target,
        images: Tensor,
        labels: Tensor,
        *,
        ball: Ball,
        rows: Tensor,
        statistics: Statistics | None = None,
    ) -> Tensor:
        """The direction (B, 3, H, W) that `run` scales, in the ball's pixel space; it does not depend on epsilon.

        As `context["direction"]` it saves `run` the search. Arguments as those of `run`.
        """
        self.check_ball(ball)
        region = region_of(ball, statistics, images.detach(), 0.0)
        problem = make_problem(target, images, labels, region=region, rows=rows, seed=0, context={})
        with frozen(target):
            return self._direction(problem)

    def _direction(self, problem: Problem) -> Tensor:
        direction, _ = self.smallest(problem)
        unmoved = (direction == 0).flatten(1).all(dim=1)
        if unmoved.any():
            steepest = self.gradient(problem, problem.region.center)
            direction = torch.where(per_image(unmoved, direction).bool(), steepest, direction)
        return direction

    def smallest(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The search: z' - z (B, 3, H, W), and whether it changes the class as wanted (B,) bool."""
        constant = torch.full_like(problem.region.radius, self.initial_constant)
        failed, succeeded = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        best, length = torch.zeros_like(problem.images), torch.full_like(problem.images[:, 0, 0, 0], torch.inf)
        for _ in range(self.binary_search_steps):
            delta, norm, last = self._descend(problem, constant)
            shorter = norm < length
            best = torch.where(per_image(shorter, best).bool(), delta, best)
            length = torch.where(shorter, norm, length)
            success = norm.isfinite()
            succeeded = torch.where(success, constant, succeeded)
            failed = torch.where(success, failed, constant)
            constant = torch.where(succeeded.isinf(), constant * 10, (failed + succeeded) / 2)
        found = length.isfinite()
        return torch.where(per_image(found, best).bool(), best, last), found

    def _descend(self, problem: Problem, constant: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Adam for one c per image: the shortest success, its norm (infinite without one), the last iterate."""
        region: Any = problem.region
        scale = region.space.scale(problem.images)
        clean = torch.atanh((2 * problem.images - 1) * _SHRINK)
        # What tanh makes of the clean image, so that the distance starts at exactly 0.
        origin = (clean.tanh() + 1) / 2
        best, length = torch.zeros_like(origin), torch.full_like(origin[:, 0, 0, 0], torch.inf)
        point = clean.clone().requires_grad_()
        optimizer = torch.optim.Adam([point], lr=self.learning_rate)
        for _ in range(self.steps):
            with torch.enable_grad():
                images = (point.tanh() + 1) / 2
                delta = (images - origin) / scale
                lead = margin(problem.model(images), problem.labels) + self.confidence
                loss = delta.square().sum(dim=(1, 2, 3)) + constant.to(lead.dtype) * lead.clamp_min(0)
                (gradient,) = torch.autograd.grad(loss.sum(), point)
            point.grad = torch.nan_to_num(gradient)
            optimizer.step()
            delta = delta.detach()
            norm = torch.where(lead.detach() < 0, l2_norms(delta), torch.inf)
            shorter = norm < length
            best = torch.where(per_image(shorter, best).bool(), delta, best)
            length = torch.where(shorter, norm, length)
        return best, length, delta


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Z_y - max_{k != y} Z_k, (B,) float32: below 0 where the class is wrong."""
    logits = logits.float()
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own[:, 0] - others.amax(dim=1)
