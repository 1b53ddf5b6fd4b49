"""The low band of an image as a purifier: what a dictionary of the high band has to be better than."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from nndefense.core.options import NotNegative
from nndefense.defenses.base import Context, Model, Purifier, like_format
from nndefense.dictionaries.comparators import low_band
from nndefense.dictionaries.split import split


@dataclass(frozen=True, kw_only=True)
class LowPass(Purifier):
    """Tikhonov low-pass filter: s / (1 + weight (|G_rows|^2 + |G_columns|^2)), G the differences of neighbours."""

    weight: Annotated[NotNegative, Field(description="Weight of the differences; 0 leaves the image as it is.")] = 0.5

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        return like_format(low_band(images, self.weight), images)

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        # The filter is linear: no attacker takes it for the identity.
        return model(like_format(split(images, self.weight)[0].clamp(0, 1), images))
