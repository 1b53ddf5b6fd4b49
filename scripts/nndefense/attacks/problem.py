"""What an attack is given: images, what it may choose from, and the system that it attacks."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from nndefense.attacks.region import Region, taken
from nndefense.models.computing import SINGLE, Computing


class Attackable(Protocol):
    """A defence bound to a network, as `nndefense.defenses.base.Bound`; see there."""

    model: nn.Module

    def surrogate(
        self,
        images: Tensor,
        *,
        rows: Tensor,
        seed: int,
        draws: int = 1,
        memo: MutableMapping[str, Any] | None = None,
    ) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W), differentiable by them."""

    @property
    def random(self) -> bool:
        """Whether answers depend on the seed."""

    def probabilities(self, images: Tensor, *, rows: Tensor, seed: int) -> Tensor:
        """Class probabilities (B, C), exact, without gradients."""

    def softened(self, temperature: float) -> "Attackable":
        """The same with another temperature of the surrogate."""

    def unrolled(self) -> "Attackable":
        """The same, whose surrogate differentiates a fixed number of iterations."""

    def embed(
        self,
        images: Tensor,
        *,
        rows: Tensor,
        seed: int,
        draws: int = 1,
        memo: MutableMapping[str, Any] | None = None,
    ) -> Tensor:
        """Codes (B, d) that decide, differentiable."""

    def landmarks(self, classes: int) -> tuple[Tensor, Tensor, int]:
        """Codes that `embed` may be moved to, their classes, and how many of the nearest decide."""

    def pictures(self, places: Tensor) -> Tensor | None:
        """Images of landmarks; None where these are no images."""


Target: TypeAlias = nn.Module | Callable[[Tensor], Tensor] | Attackable


class Bare:
    """A network as a defended system, the trivial one: what it computes is both its answer and what is differentiated.

    Args:
        model: images (B, 3, H, W) in [0, 1] -> logits (B, C).
    """

    random = False

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        self.model = model

    def surrogate(self, images: Tensor, **_: Any) -> Tensor:
        """Logits (B, C)."""
        return self.model(images)

    def probabilities(self, images: Tensor, **_: Any) -> Tensor:
        """Class probabilities (B, C), without gradients."""
        with torch.no_grad():
            return self.model(images).float().softmax(dim=1)

    def softened(self, temperature: float) -> "Bare":
        """Itself: there is nothing to soften."""
        return self

    def unrolled(self) -> "Bare":
        """Itself: there is nothing to unroll."""
        return self

    def embed(self, images: Tensor, **_: Any) -> Tensor:
        """Class probabilities (B, C), differentiable."""
        return self.model(images).float().softmax(dim=1)

    def landmarks(self, classes: int) -> tuple[Tensor, Tensor, int]:
        """Certain answers: codes (C, C), their classes (C,), and how many of the nearest decide."""
        return torch.eye(classes), torch.arange(classes), 1

    def pictures(self, places: Tensor) -> Tensor | None:
        """None: a certain answer is no image."""
        return None


class Sight:
    """Which images of a batch an attack has seen a gradient of that is not 0.

    Attributes:
        asked: whether it asked for gradients at all. seen: (B,) bool.
    """

    def __init__(self, images: Tensor) -> None:
        self.asked, self.seen = False, torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def note(self, gradient: Tensor) -> None:
        """A gradient (B, 3, H, W) that the attack goes along."""
        self.told((gradient != 0).flatten(1).any(dim=1))

    def told(self, seen: Tensor) -> None:
        """Whether there was a gradient, (B,) bool."""
        self.asked, self.seen = True, self.seen | seen.to(self.seen.device)


@dataclass(frozen=True)
class Problem:
    """What an attack's `perturb` gets.

    Attributes:
        target: the attacked system.
        images: (B, 3, H, W) float32.
        labels, rows: (B,) int64.
        region: what the attack may choose from; its `center` is the images' z.
        seed: of random starts.
        context: whatever an attack needs besides, e.g. the neighbours' softmax rows for a retrieval-aware attack.
        sight: where gradients are noted that the attack asks for; None: nowhere.
        computing: how gradients are computed.
    """

    target: Attackable
    images: Tensor
    labels: Tensor
    rows: Tensor
    region: Region
    seed: int
    context: Mapping[str, Any] = field(default_factory=dict)
    sight: Sight | None = None
    computing: Computing = SINGLE

    def model(self, images: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W), differentiable by them."""
        return self.target.surrogate(images, rows=self.rows, seed=self.seed)

    def at(self, places: Tensor) -> "Problem":
        """The problem of some of the images, whose context must not depend on them; places: (B,) bool, or int64.

        What is seen of them is not noted.
        """
        taken_ones: dict[str, Any] = {name: taken(getattr(self, name), places) for name in ("images", "labels", "rows")}
        return replace(self, region=self.region.at(places), sight=None, **taken_ones)


def make_problem(
    target: Target,
    images: Tensor,
    labels: Tensor,
    *,
    region: Region,
    rows: Tensor,
    seed: int,
    context: Mapping[str, Any],
    computing: Computing = SINGLE,
) -> Problem:
    """The problem of `Attack.run`, whose arguments these are."""
    system: Any = target if hasattr(target, "surrogate") else Bare(target)
    return Problem(
        target=system,
        images=images.detach(),
        labels=labels.to(images.device, torch.int64),
        rows=rows,
        region=region,
        seed=seed,
        context=context,
        computing=computing,
    )
