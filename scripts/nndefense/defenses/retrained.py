"""Defences that are networks of their own, trained to resist: their probabilities as they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from nndefense.defenses.base import Defense


@dataclass(frozen=True, kw_only=True)
class Retrained(Defense):
    """The network that `defenses.{name}.model` names answers in the target's place."""

    def predict(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        rows: Tensor,
        seed: int,
        context: Mapping[str, object],
    ) -> Tensor:
        return model(images).float().softmax(dim=1)
