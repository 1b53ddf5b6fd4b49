"""What every defence offers: class probabilities of images, reproducible whatever the batches are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from nndefense.errors import ConfigError, InputError
from nndefense.models.predict import require_eval

_MASK = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Defense:
    """Base class. A subclass is a frozen dataclass of options that implements `predict`."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of `context` that the defence cannot do without."""
        return ()

    def prepare(self, context: Mapping[str, object]) -> Mapping[str, object]:
        """The context with what is made from it once for all batches, such as an index; the same where it is there."""
        return context

    def predict(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        rows: Tensor,
        seed: int,
        context: Mapping[str, object],
    ) -> Tensor:
        """Probabilities (B, C) float32 of checked arguments, those of `probabilities`."""
        raise NotImplementedError

    def probabilities(
        self,
        model: nn.Module,
        images: Tensor,
        *,
        rows: Tensor,
        seed: int,
        context: Mapping[str, object] | None = None,
    ) -> Tensor:
        """Class probabilities of the defended model, (B, C) float32 on the images' device; rows sum to 1.

        model: images in [0, 1] -> logits (B, C), in eval mode, on the images' device.
        images: (B, 3, H, W) float32 in [0, 1]. rows: (B,) integer ids of the images: what is random depends on
        (seed, row) alone, so the batch split does not matter. context: what `needs` names; where there are
        many batches, pass what `known` makes of it, once.
        Raises InputError on unusable arguments.
        """
        require_eval(model)
        check_images(images, rows, seed)
        with torch.no_grad():
            return self.predict(model, images, rows, seed, self.known(context))

    def known(self, context: Mapping[str, object] | None) -> Mapping[str, object]:
        """The prepared context. Raises InputError where something that `needs` names is missing."""
        context = context or {}
        if missing := [key for key in self.needs if key not in context]:
            raise InputError(f"defense {type(self).__name__} needs context {missing[0]!r}; got: {list(context)}")
        return self.prepare(context)


@dataclass(frozen=True, kw_only=True)
class Purifier(Defense):
    """A defence that changes the image and then asks the model. A subclass implements `transform`."""

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Mapping[str, object]) -> Tensor:
        """Purified images of checked arguments, those of `purify`."""
        raise NotImplementedError

    def purify(self, images: Tensor, *, rows: Tensor, seed: int, context: Mapping[str, object] | None = None) -> Tensor:
        """Images (B, 3, H, W) float32 in [0, 1] that the model is shown instead. Arguments as of `probabilities`."""
        check_images(images, rows, seed)
        with torch.no_grad():
            return self.transform(images, rows, seed, self.known(context))

    def predict(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        rows: Tensor,
        seed: int,
        context: Mapping[str, object],
    ) -> Tensor:
        return model(self.transform(images, rows, seed, context)).float().softmax(dim=1)


def row_generator(seed: int, row: int) -> np.random.Generator:
    """The random numbers of one image: a stream that depends on (seed, row) alone."""
    # Philox is counter-based: the key names the stream, without a warm-up. Without a type a key would become floats
    # where one of its numbers needs 64 bits.
    return np.random.Generator(np.random.Philox(key=np.array([seed & _MASK, row & _MASK], dtype=np.uint64)))


def like_format(images: Tensor, like: Tensor) -> Tensor:
    """The images in the memory format of `like`, which networks run faster or slower in."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return images.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def check_images(images: Tensor, rows: Tensor, seed: int) -> None:
    """Raises InputError unless images are (B, C, H, W) float32 in [0, 1] with B integer rows, and seed >= 0."""
    if images.ndim != 4 or images.dtype != torch.float32:
        raise InputError(f"defense needs images (B, C, H, W) float32, got {tuple(images.shape)} {images.dtype}")
    # The comparison is written so that a NaN pixel fails it.
    if images.numel() and not (images.amin() >= 0 and images.amax() <= 1):
        raise InputError("defense needs finite pixels in [0, 1]")
    if rows.shape != images.shape[:1] or rows.is_floating_point():
        raise InputError(f"defense needs {len(images)} integer rows, got {tuple(rows.shape)} {rows.dtype}")
    if seed < 0:
        raise InputError(f"defense seed is {seed}; allowed: an integer >= 0")


def check_integer(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raises ConfigError unless value is an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        allowed = f">= {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"defense option {name} is {value!r}; allowed: an integer {allowed}")


def check_number(name: str, value: object, allowed: str, accept: Callable[[float], bool]) -> None:
    """Raises ConfigError unless value is a finite number that `accept` accepts; allowed: the same in words."""
    number = not isinstance(value, bool) and isinstance(value, int | float) and isfinite(value)
    if not number or not accept(value):
        raise ConfigError(f"defense option {name} is {value!r}; allowed: {allowed}")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises ConfigError unless value is one of the allowed ones."""
    if value not in allowed:
        raise ConfigError(f"defense option {name} is {value!r}; allowed: {', '.join(allowed)}")
