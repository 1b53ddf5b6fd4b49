"""What every defence offers once it is bound to a network: exact probabilities, and what an attacker may differentiate.

A defence is a frozen dataclass of options. `bind` ties it to a network and to what it needs besides; the result is a
deployed defence, whose answers to an image depend on (seed, row) alone, whatever the batches are.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, fields, replace
from math import log
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nndefense.core.errors import InputError
from nndefense.core.options import Options
from nndefense.core.seeds import derive_seed
from nndefense.defenses.kept import Kept
from nndefense.models.computing import SINGLE
from nndefense.models.predict import require_eval

Context = Mapping[str, Any]
Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Defense(Options):
    """Base class. A subclass is a frozen dataclass of options that implements `predict` and `differentiable`."""

    noun: ClassVar[str] = "defense"

    @property
    def random(self) -> bool:
        """Whether answers depend on the seed, so that an attacker should average over draws."""
        return False

    def bind(self, model: nn.Module, context: Context | None = None) -> "Bound":
        """The defence, deployed.

        Args:
            model: images (B, 3, H, W) in [0, 1] -> logits (B, C), in eval mode, on the device of the images to come.
            context: what the defence needs besides, by the names that its class tells.

        Raises:
            InputError: something that the defence needs is missing.
        """
        context = context or {}
        # Options that were chosen on validation images.
        own = replace(self, **context.get("tuned", {}))
        return Bound(own, model, own.prepare(context))

    def prepare(self, context: Context) -> Context:
        """Called by `bind`: the place to check the context, and to add what is made from it once for all batches."""
        return context

    def required(self, context: Context, *names: str) -> None:
        """Raises InputError where the context lacks one of the names."""
        if missing := [name for name in names if name not in context]:
            got = ", ".join(context) or "nothing"
            raise InputError(f"defense {type(self).__name__} needs context {missing[0]!r}; got: {got}")

    def predict(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        """Probabilities (B, C) float32 of checked arguments, those of `Bound.probabilities`."""
        raise NotImplementedError

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        """Logits (B, C) of checked arguments, those of `Bound.surrogate`, for one draw of what is random.

        `context["memo"]`, where there is one, keeps what was looked up for these images until the attacker clears it.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Purifier(Defense):
    """A defence that changes the image and then asks the network. A subclass implements `transform`.

    An attacker differentiates straight through it, as if it did not change the image (BPDA, Athalye et al. 2018). What
    it changes is kept in the memo, where there is one. What was made of an image is kept, too, for when it is shown
    again.
    """

    def bind(self, model: nn.Module, context: Context | None = None) -> "Bound":
        bound = super().bind(model, context)
        return replace(bound, context={**bound.context, "kept": Kept()})

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        """Purified images (B, 3, H, W) float32 in [0, 1] of checked arguments, without gradients."""
        raise NotImplementedError

    def predict(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        return model(self._purified(images, rows, seed, context)).float().softmax(dim=1)

    def _purified(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        def compute(shown: Tensor, rows: Tensor) -> Tensor:
            # Exact where an attacker asks in a lower precision, too: the exact defence may be asked next.
            with SINGLE.lowered(images.device):
                return self.transform(like_format(shown, images), rows, seed, context)

        if "kept" not in context:
            return compute(images, rows)
        return like_format(context["kept"].of(compute, images, rows, seed if self.random else None), images)

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        memo = context.get("memo", {})
        if "shift" in memo:
            return model(images + memo["shift"])
        with torch.no_grad():
            purified = self._purified(images.detach(), rows, seed, context)
        memo["shift"] = purified - images.detach()
        # x - x is 0 and has the gradient of x, so that the value is exactly that of the purified image.
        return model(purified + (images - images.detach()))


@dataclass(frozen=True, eq=False)
class Bound:
    """A defence as deployed.

    Attributes:
        defense: its options.
        model: the network that it asks.
        context: what it needs besides, prepared.
    """

    defense: Defense
    model: nn.Module
    context: Context

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next((one.device for one in self.model.parameters()), torch.device("cpu"))

    def probabilities(self, images: Tensor, *, rows: Tensor, seed: int) -> Tensor:
        """Class probabilities, exact, without gradients: (B, C) float32 on the images' device; rows sum to 1.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].
            rows: (B,) integer ids of the images: what is random depends on (seed, row) alone.
            seed: of what is random, >= 0.

        Raises:
            InputError: unusable arguments, or a network in training mode.
        """
        self.check(images, rows, seed)
        with torch.no_grad():
            return self.defense.predict(self.model, images, rows, seed, self.context)

    @property
    def random(self) -> bool:
        """Whether answers depend on the seed."""
        return self.defense.random

    def softened(self, temperature: float) -> "Bound":
        """The same defence with another temperature of its surrogate; itself where the surrogate has none."""
        if all(one.name != "temperature" for one in fields(self.defense)):
            return self
        own: Any = self.defense
        return replace(self, defense=replace(own, temperature=temperature))

    def unrolled(self) -> "Bound":
        """The same defence, whose surrogate differentiates a fixed number of iterations; itself where it has none."""
        if all(one.name != "unrolled" for one in fields(self.defense)):
            return self
        return replace(self, context={**self.context, "unroll": True})

    def embed(
        self,
        images: Tensor,
        *,
        rows: Tensor,
        seed: int,
        draws: int = 1,
        memo: MutableMapping[str, Any] | None = None,
    ) -> Tensor:
        """Codes (B, d) that the defence decides by, differentiable: class probabilities where it does not retrieve.

        Arguments as of `surrogate`.
        """
        return self.surrogate(images, rows=rows, seed=seed, draws=draws, memo=memo).float().softmax(dim=1)

    def landmarks(self, classes: int) -> tuple[Tensor, Tensor, int]:
        """Codes that `embed` may be moved to: (M, d), their classes (M,), and how many of the nearest decide.

        classes: number of classes. Where the defence does not retrieve, these are the certain answers.
        """
        return torch.eye(classes), torch.arange(classes), 1

    def pictures(self, places: Tensor) -> Tensor | None:
        """Images (b, 3, H, W) in [0, 1] of landmarks at places (b,); None where landmarks are no images."""
        return None

    def surrogate(
        self,
        images: Tensor,
        *,
        rows: Tensor,
        seed: int,
        draws: int = 1,
        memo: MutableMapping[str, Any] | None = None,
    ) -> Tensor:
        """Logits (B, C) whose gradient by the images an adaptive attacker may follow.

        Exact where the defence is differentiable, else the defence's own approximation. Where it is random, the
        logarithm of the mean probability over draws, which are never those of `probabilities` of the same seed.

        Args:
            images: (B, 3, H, W) float32 in [0, 1].
            rows: (B,) integer ids of the images.
            seed: of what is random, >= 0.
            draws: what is random is drawn so often; without effect on other defences.
            memo: where the defence keeps what it looks up (the candidates of a retrieval), and uses it again for the
                same images until it is cleared; None: it is looked up every time.

        Raises:
            InputError: unusable arguments, or a network in training mode.
        """
        self.check(images, rows, seed)
        if draws < 1:
            raise InputError(f"defense draws is {draws}; allowed: an integer >= 1")
        if not self.defense.random:
            context = self.context if memo is None else {**self.context, "memo": memo}
            return self.defense.differentiable(self.model, images, rows, seed, context)
        seeds = [derive_seed(seed, "draw", number) for number in range(draws)]
        logits = [self.defense.differentiable(self.model, images, rows, one, self.context) for one in seeds]
        return log_mean(logits)

    def check(self, images: Tensor, rows: Tensor, seed: int) -> None:
        """Raises InputError for unusable arguments, or a network in training mode."""
        require_eval(self.model)
        check_images(images)
        if rows.shape != images.shape[:1] or rows.is_floating_point():
            raise InputError(f"defense needs {len(images)} integer rows, got {tuple(rows.shape)} {rows.dtype}")
        if seed < 0:
            raise InputError(f"defense seed is {seed}; allowed: an integer >= 0")


def log_mean(logits: list[Tensor]) -> Tensor:
    """Logarithm of the mean probability of several logits (B, C) each: (B, C)."""
    return torch.stack([one.float().log_softmax(dim=1) for one in logits]).logsumexp(dim=0) - log(len(logits))


def like_format(images: Tensor, like: Tensor) -> Tensor:
    """The images in the memory format of `like`, which networks run faster or slower in."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def check_images(images: Tensor) -> None:
    """Raises InputError unless images are (B, C, H, W) float32 in [0, 1]."""
    if images.ndim != 4 or images.dtype != torch.float32:
        raise InputError(f"defense needs images (B, C, H, W) float32, got {tuple(images.shape)} {images.dtype}")
    pixels = images.detach()
    # The comparison is written so that a NaN pixel fails it.
    if pixels.numel() and not (pixels.amin() >= 0 and pixels.amax() <= 1):
        raise InputError("defense needs finite pixels in [0, 1]")
