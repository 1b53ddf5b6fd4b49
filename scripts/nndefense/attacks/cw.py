"""Carlini-Wagner l2 (Dubey et al. 2019, App. A; Carlini & Wagner 2017), scaled to a normalised l2 budget.

No library's search fits: foolbox gives a black image where it fails, moves an image that is wrong already along
rounding errors, and knows the [0, 1] norm alone; torchattacks searches no constant.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nndefense.attacks.base import (
    Attack,
    Problem,
    check_integer,
    check_not_negative,
    check_positive,
    frozen,
    make_problem,
)
from nndefense.attacks.budget import per_image, scale_to_budget
from nndefense.attacks.space import PixelSpace, l2_norms

# Black and white lie at infinity in tanh space; this keeps them at +-7.25, as foolbox does.
_SHRINK = 0.999999


@dataclass(frozen=True, kw_only=True)
class CW(Attack):
    """The smallest perturbation that changes the class, then scaled to the budget.

    Minimises ||z' - z||^2 + c * max(0, Z_y - max_{k != y} Z_k + confidence) over images in (0, 1), with Adam in
    tanh space and a search for the smallest c that succeeds, for each image apart. An image for which every c
    fails is moved along its last iterate. One that the model gets wrong already has the smallest perturbation
    0; it is moved along the steepest fall of Z_y - max Z_k.

    binary_search_steps, steps: values of c per image, and Adam steps for each; their product is the number of
    passes. Carlini & Wagner take 9 and 10000, foolbox the same; the default suits a CPU.
    learning_rate: of Adam, in tanh space. initial_constant: the first c; it grows tenfold until one succeeds.
    confidence: kappa, the lead of the wrong class that counts as a success, in logits.
    """

    restarts: int = field(default=1, init=False)
    binary_search_steps: int = 5
    steps: int = 50
    learning_rate: float = 0.01
    initial_constant: float = 0.01
    confidence: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check_integer("binary_search_steps", self.binary_search_steps, low=1)
        check_integer("steps", self.steps, low=1)
        check_positive("learning_rate", self.learning_rate)
        check_positive("initial_constant", self.initial_constant)
        check_not_negative("confidence", self.confidence)

    def objective(self, problem: Problem, images: Tensor) -> Tensor:
        """Minus the margin Z_y - max_{k != y} Z_k, (B,)."""
        return -margin(problem.model(images), problem.labels)

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        direction = problem.context.get("direction")
        direction = self._direction(problem) if direction is None else direction.to(problem.z)
        return scale_to_budget(problem.z, direction, problem.radius, problem.low, problem.high)

    def find_direction(
        self, model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, *, space: PixelSpace, rows: Tensor
    ) -> Tensor:
        """The direction (B, 3, H, W) that `run` scales, in `space`; it does not depend on epsilon.

        As `context["direction"]` it saves `run` the search. Arguments as those of `run`.
        """
        problem = make_problem(model, images, labels, epsilon=0.0, space=space, rows=rows, seed=0, context={})
        with frozen(model):
            return self._direction(problem)

    def _direction(self, problem: Problem) -> Tensor:
        direction, _ = self.smallest(problem)
        unmoved = (direction == 0).flatten(1).all(dim=1)
        if unmoved.any():
            steepest = self.gradient(problem, problem.z)
            direction = torch.where(per_image(unmoved, direction).bool(), steepest, direction)
        return direction

    def smallest(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """The search: z' - z (B, 3, H, W), and whether it changes the class as wanted (B,) bool."""
        constant = torch.full_like(problem.radius, self.initial_constant)
        failed, succeeded = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        best, length = torch.zeros_like(problem.z), torch.full_like(problem.z[:, 0, 0, 0], torch.inf)
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
        scale = problem.space.scale(problem.images)
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
