"""JPEG compression as a purifier (Dziugaite et al. 2016): a comparator that knows nothing of what images show."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from nndefense.defenses.base import Context, Purifier, like_format
from nndefense.dictionaries.comparators import jpeg


@dataclass(frozen=True, kw_only=True)
class JPEG(Purifier):
    """Images as JPEG files of 8 bits show them."""

    quality: Annotated[int, Field(ge=1, le=95, description="Quality, as libjpeg counts it.")] = 75
    subsampling: Annotated[
        Literal["4:4:4", "4:2:2", "4:2:0"], Field(description="Subsampling of the two colour channels.")
    ] = "4:2:0"

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        return like_format(jpeg(images, self.quality, self.subsampling), images)
