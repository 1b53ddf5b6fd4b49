"""The template that every attack fills in: budget, restarts, selection and measurement are shared."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor, nn

from nndefense.attacks.budget import images_within_budget, per_image, radii
from nndefense.attacks.space import PixelSpace
from nndefense.errors import ConfigError, InputError


@dataclass(frozen=True)
class Problem:
    """What an attack's `perturb` gets; z, low, high and radius are in the budget's pixel space.

    images, z: (B, 3, H, W) float32; labels, rows: (B,) int64; radius: (B,) float64; low, high: (1, 3, 1, 1).
    context: whatever an attack needs besides, e.g. the neighbours' softmax rows for a retrieval-aware attack.
    """

    model: Callable[[Tensor], Tensor]
    images: Tensor
    labels: Tensor
    rows: Tensor
    z: Tensor
    low: Tensor
    high: Tensor
    radius: Tensor
    space: PixelSpace
    seed: int
    context: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class AttackResult:
    """images (B, 3, H, W) float32 in [0,1]; all else (B,).

    loss_before, loss_after: cross-entropy (nats), NaN if not measured; delta_raw01, delta_standardized:
    normalised l2 distance in both spaces, float64 (the second NaN without channel statistics); delta: the one
    that epsilon bounds;
    saturated: the budget could not be spent, because the box or a zero direction stopped it.
    """

    images: Tensor
    loss_before: Tensor
    loss_after: Tensor
    delta: Tensor
    delta_raw01: Tensor
    delta_standardized: Tensor
    saturated: Tensor


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Base class. A subclass is a frozen dataclass of options that implements `perturb`.

    restarts: runs per image, of which the one with the highest objective is kept; attacks without randomness
    take this option away (`field(default=1, init=False)`).
    """

    restarts: int = 1

    def __post_init__(self):
        check_integer("restarts", self.restarts, low=1)

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of `context` that `run` cannot do without."""
        return ()

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
        with torch.enable_grad():
            images = problem.space.to_images(z).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.objective(problem, images).sum(), images)
        gradient = torch.nan_to_num(gradient.float(), nan=0.0)
        return gradient if problem.space.name == "raw01" else gradient * problem.space.scale(gradient)

    def run(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        *,
        epsilon: float,
        space: PixelSpace,
        rows: Tensor,
        seed: int,
        context: Mapping[str, object] | None = None,
        measure_loss: bool = True,
    ) -> AttackResult:
        """Attack each image within normalised l2 distance epsilon.

        model: images in [0,1] -> logits (B, classes), in eval mode; its weights are frozen meanwhile.
        images: (B, 3, H, W) float32 in [0,1], any memory format (channels-last is kept); labels: (B,)
        integer.
        rows: (B,) integer ids of the images: a random start depends on (seed, row, restart) alone, so the
        batch split does not matter. measure_loss=False saves the forward passes on the clean and, for one
        restart, the final images. epsilon=0 returns the images bit-exactly. context: what `needs` names, rows
        in the order of the images. Raises InputError on unusable arguments.
        """
        _check(model, images, labels, rows, epsilon, seed)
        context = context or {}
        if missing := [key for key in self.needs if key not in context]:
            raise InputError(f"attack {type(self).__name__} needs context {missing[0]!r}; got: {list(context)}")
        problem = make_problem(
            model, images, labels, epsilon=epsilon, space=space, rows=rows, seed=seed, context=context
        )
        images, radius = problem.images, problem.radius
        with frozen(model):
            before = self._loss(problem, images, measure_loss)
            best, after, saturated = images.clone(), before, torch.zeros_like(radius, dtype=torch.bool)
            if epsilon > 0:
                problem = self.prepare(problem)
            for restart in range(self.restarts if epsilon > 0 else 0):
                z_adv, stuck = self.perturb(problem, restart)
                candidate = images_within_budget(images, z_adv, radius, space)
                loss = self._loss(problem, candidate, measure_loss or self.restarts > 1)
                score = self._score(problem, candidate, loss)
                if restart == 0:
                    best, after, saturated, best_score = candidate, loss, stuck, score
                else:
                    worse = (score > best_score) | best_score.isnan()
                    best = torch.where(per_image(worse, best).bool(), candidate, best)
                    after, saturated = torch.where(worse, loss, after), torch.where(worse, stuck, saturated)
                    best_score = torch.where(worse, score, best_score)
        raw = space.named("raw01").delta(images, best)
        unknown = torch.full_like(raw, float("nan"))
        standardized = unknown if space.std is None else space.named("standardized").delta(images, best)
        delta = raw if space.name == "raw01" else standardized
        return AttackResult(best, before, after, delta, raw, standardized, saturated)

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


def make_problem(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    space: PixelSpace,
    rows: Tensor,
    seed: int,
    context: Mapping[str, object],
) -> Problem:
    """The problem of `Attack.run`, whose arguments these are."""
    images = images.detach()
    low, high = space.bounds(images)
    return Problem(
        model=model,
        images=images,
        labels=labels.to(images.device, torch.int64),
        rows=rows,
        z=space.from_images(images),
        low=low,
        high=high,
        radius=radii(images, epsilon, space),
        space=space,
        seed=seed,
        context=context,
    )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per image in nats, (B,) float32."""
    return nn.functional.cross_entropy(logits.float(), labels, reduction="none")


@contextmanager
def frozen(model: object) -> Iterator[None]:
    """No weight of the model requires a gradient inside; its flags are as before afterwards."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    thawed = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)


def check_integer(name: str, value: object, low: int) -> None:
    """Raises ConfigError unless value is an integer >= low."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"attack option {name} is {value!r}; allowed: an integer >= {low}")


def check_positive(name: str, value: object) -> None:
    """Raises ConfigError unless value is a finite number > 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isfinite(value) and value > 0):
        raise ConfigError(f"attack option {name} is {value!r}; allowed: a finite number > 0")


def check_not_negative(name: str, value: object) -> None:
    """Raises ConfigError unless value is a finite number >= 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isfinite(value) and value >= 0):
        raise ConfigError(f"attack option {name} is {value!r}; allowed: a finite number >= 0")


def check_choice(name: str, value: object, allowed: tuple[str | bool, ...]) -> None:
    """Raises ConfigError unless value is one of the allowed ones; 1 is not True."""
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        raise ConfigError(f"attack option {name} is {value!r}; allowed: {', '.join(map(str, allowed))}")


def _check(model: object, images: Tensor, labels: Tensor, rows: Tensor, epsilon: float, seed: int) -> None:
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
