"""The template that every attack fills in: region, restarts, selection and measurement are shared."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from nndefense.attacks import ATTACKS
from nndefense.attacks.budget import per_image
from nndefense.attacks.problem import Problem, Sight, Target, make_problem
from nndefense.attacks.region import Statistics, distances, region_of
from nndefense.axes.ball import BALLS, Ball
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import Count, Options
from nndefense.models.computing import SINGLE, Computing

# Context of what an attack finds that is the same at every budget: a dict that all budgets of the images share.
SHARED = "shared"
# An image that moved by less than this share of its budget stayed where it was.
STILL = 0.01


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1].
        loss_before, loss_after: (B,) cross-entropy (nats), NaN if not measured.
        delta: (B,) float64, the distance that epsilon bounds.
        deltas: (B,) float64 each, by the name of the ball; standardized: NaN without channel statistics.
        saturated: (B,) bool, the budget could not be spent, because the box or a zero direction stopped it.
        idle: (B,) bool, the attack did nothing to an image that was right and had a budget: every gradient was 0, or
            the image moved by less than STILL of the budget.
    """

    images: Tensor
    loss_before: Tensor
    loss_after: Tensor
    delta: Tensor
    deltas: Mapping[str, Tensor]
    saturated: Tensor
    idle: Tensor


@dataclass(frozen=True, kw_only=True)
class Attack(Options):
    """Base class. A subclass is a frozen dataclass of options that implements `perturb`.

    Attacks without randomness take the option `restarts` away (`field(default=1, init=False)`).
    """

    noun: ClassVar[str] = "attack"
    # Whether it keeps the clean image where no other that it tried came further.
    keeps: ClassVar[bool] = False

    restarts: Annotated[Count, Field(description="Runs; the one of highest objective is kept for each image.")] = 1

    def prepare(self, problem: Problem) -> Problem:
        """Called once a run, before the restarts: the place to check the context and to add to it."""
        return problem

    def perturb(self, problem: Problem, restart: int) -> tuple[Tensor, Tensor]:
        """One run: the adversarial z (B, 3, H, W), feasible up to rounding, and saturated (B,) bool."""
        raise NotImplementedError

    def objective(self, problem: Problem, images: Tensor) -> Tensor:
        """What the attack ascends, (B,), one value per image that depends on no other image."""
        return cross_entropy(problem.model(images), problem.labels)

    def gradient(self, problem: Problem, z: Tensor) -> Tensor:
        """Gradient of the objective by z, (B, 3, H, W) float32, NaN replaced by 0; one pass each way."""
        points = problem.region.to_images(z)
        gradient = gradient_of(lambda images: self.objective(problem, images), points, problem.computing)
        if problem.sight is not None:
            problem.sight.note(gradient)
        return problem.region.to_gradient(gradient.float())

    def run(
        self,
        target: Target,
        images: Tensor,
        labels: Tensor,
        *,
        epsilon: float,
        ball: Ball,
        rows: Tensor,
        seed: int,
        statistics: Statistics | None = None,
        norm: float | None = None,
        context: Mapping[str, Any] | None = None,
        measure_loss: bool = True,
        computing: Computing = SINGLE,
    ) -> AttackResult:
        """Attack each image within a ball.

        Args:
            target: a network (images in [0, 1] -> logits (B, classes), in eval mode; its weights are frozen
                meanwhile), or a bound defence, which is attacked through its surrogate.
            images: (B, 3, H, W) float32 in [0, 1], any memory format (channels-last is kept).
            labels: (B,) integer.
            epsilon: budget; 0 returns the images bit-exactly.
            ball: what epsilon bounds.
            rows: (B,) integer ids of the images: a random start depends on (seed, row, restart) alone, so the batch
                split does not matter.
            seed: of random starts, >= 0.
            statistics: the data set's mean and std per channel; needed for standardised pixels.
            norm: l2 only; the norm that every budget is a share of, instead of each image's own.
            context: what the attack needs besides, rows in the order of the images.
            measure_loss: False saves the forward passes on the clean and, for one restart, the final images.
            computing: how gradients are computed.

        Raises:
            InputError: unusable arguments. ConfigError: a ball that the attack, or an option of it, does not fit.
        """
        _check(target, images, labels, rows, epsilon, seed)
        self.check_ball(ball)
        problem = make_problem(
            target,
            images,
            labels,
            region=region_of(ball, statistics, images.detach(), epsilon, norm),
            rows=rows,
            seed=seed,
            context=context or {},
            computing=computing,
        )
        images, region = problem.images, problem.region
        problem = replace(problem, sight=Sight(images))
        with frozen(target):
            before, right = self._before(problem, measure_loss)
            best, after = images.clone(), before
            saturated = torch.zeros_like(region.radius, dtype=torch.bool)
            if epsilon > 0:
                best, after, saturated = self.search(self.prepare(problem), measure_loss)
        deltas, idle = distances(images, best, statistics), right & self._idle(problem, best)
        return AttackResult(best, before, after, deltas[str(ball)], deltas, saturated, idle)

    def search(self, problem: Problem, measure_loss: bool) -> tuple[Tensor, Tensor, Tensor]:
        """All restarts: final images (B, 3, H, W), cross-entropy (B,), NaN if not measured, and saturated (B,)."""
        for restart in range(self.restarts):
            z, stuck = self.perturb(problem, restart)
            candidate = problem.region.finished(z)
            loss = self._loss(problem, candidate, measure_loss or self.restarts > 1)
            score = self._score(problem, candidate, loss)
            if restart == 0:
                best, after, saturated, best_score = candidate, loss, stuck, score
            else:
                worse = (score > best_score) | best_score.isnan()
                best = torch.where(per_image(worse, best).bool(), candidate, best)
                after, saturated = torch.where(worse, loss, after), torch.where(worse, stuck, saturated)
                best_score = torch.where(worse, score, best_score)
        return best, after, saturated

    def check_ball(self, ball: Ball) -> None:
        """Raises ConfigError for a ball that the attack does not work in, by its registry entry."""
        name = f"{type(self).__module__}:{type(self).__name__}"
        allowed = next((entry.balls for entry in ATTACKS.values() if entry.target == name), tuple(BALLS))
        if str(ball) not in allowed:
            raise ConfigError(f"attack {type(self).__name__} has no form in ball {ball}; allowed: {', '.join(allowed)}")

    def required(self, problem: Problem, name: str) -> Any:
        """What the context holds by a name. Raises InputError where it lacks it."""
        if name not in problem.context:
            got = ", ".join(problem.context) or "nothing"
            raise InputError(f"attack {type(self).__name__} needs context {name!r}; got: {got}")
        return problem.context[name]

    def _before(self, problem: Problem, measure: bool) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the clean images, and whether they are right, each (B,); NaN and True if not measured."""
        if not measure:
            return self._loss(problem, problem.images, measure), torch.ones_like(problem.labels, dtype=torch.bool)
        shared = problem.context.get(SHARED, {})
        if "before" not in shared:
            with torch.no_grad():
                logits = problem.model(problem.images)
            shared["before"] = cross_entropy(logits, problem.labels), logits.argmax(dim=1) == problem.labels
        found: tuple[Tensor, Tensor] = shared["before"]
        return found

    def _idle(self, problem: Problem, images: Tensor) -> Tensor:
        """Whether nothing was done to images that have a budget, (B,) bool."""
        region = problem.region
        sight: Any = problem.sight
        still = torch.zeros_like(sight.seen) if self.keeps else region.spent(images) < STILL
        return (region.radius > 0) & (still | ~sight.seen if sight.asked else still)

    def _loss(self, problem: Problem, images: Tensor, measure: bool) -> Tensor:
        if not measure:
            return torch.full((len(images),), float("nan"), device=images.device)
        with torch.no_grad():
            return cross_entropy(problem.model(images), problem.labels)

    def _score(self, problem: Problem, images: Tensor, loss: Tensor) -> Tensor:
        # The loss is measured anyway, so only other objectives cost another pass.
        if self.restarts == 1 or type(self).objective is Attack.objective:
            return loss
        with torch.no_grad():
            return self.objective(problem, images)


def gradient_of(objective: Callable[[Tensor], Tensor], images: Tensor, computing: Computing = SINGLE) -> Tensor:
    """As the gradient of `value_and_gradient`."""
    return value_and_gradient(objective, images, computing)[1]


def value_and_gradient(
    objective: Callable[[Tensor], Tensor], images: Tensor, computing: Computing = SINGLE
) -> tuple[Tensor, Tensor]:
    """An objective (B,) of images and its gradient by them, detached; 0 where that is not a number."""
    with torch.enable_grad():
        point = images.detach().requires_grad_()
        with computing.lowered(point.device):
            value = objective(point)
        with computing.backward(point.device):
            (gradient,) = torch.autograd.grad(value.sum(), point)
    return value.detach(), torch.nan_to_num(gradient, nan=0.0)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per image in nats, (B,) float32."""
    return nn.functional.cross_entropy(logits.float(), labels, reduction="none")


@contextmanager
def frozen(target: Target) -> Iterator[None]:
    """No weight of the attacked network requires a gradient inside; its flags are as before afterwards."""
    model = network_of(target)
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    thawed = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)


def network_of(target: Any) -> Any:
    """The network that a bound defence asks, or the target itself."""
    return target.model if hasattr(target, "surrogate") else target


def _check(target: Target, images: Tensor, labels: Tensor, rows: Tensor, epsilon: float, seed: int) -> None:
    model = network_of(target)
    if isinstance(model, nn.Module) and model.training:
        raise InputError("attack needs the model in eval mode; call model.eval() first")
    if images.ndim != 4 or images.dtype != torch.float32:
        raise InputError(f"attack needs images (B, C, H, W) float32, got {tuple(images.shape)} {images.dtype}")
    # The comparison is written so that a NaN pixel fails it.
    if images.numel() and not (images.amin() >= 0 and images.amax() <= 1):
        raise InputError("attack needs finite pixels in [0, 1]")
    for name, values in (("labels", labels), ("rows", rows)):
        if values.shape != images.shape[:1] or values.is_floating_point():
            raise InputError(f"attack needs {len(images)} integer {name}, got {tuple(values.shape)} {values.dtype}")
    if not (isfinite(epsilon) and epsilon >= 0):
        raise InputError(f"attack epsilon is {epsilon!r}; allowed: a finite number >= 0")
    if seed < 0:
        raise InputError(f"attack seed is {seed}; allowed: an integer >= 0")
