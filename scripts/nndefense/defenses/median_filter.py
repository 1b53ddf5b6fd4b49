"""A median filter as a purifier (Xu et al. 2018, feature squeezing): a comparator without any knowledge of images."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from nndefense.defenses.base import Context, Purifier, like_format
from nndefense.dictionaries.comparators import median


@dataclass(frozen=True, kw_only=True)
class MedianFilter(Purifier):
    """The median of the pixels around each, channel by channel."""

    size: Annotated[int, Field(ge=1, description="Side of the square of pixels, an odd number.")] = 3

    def transform(self, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        return like_format(median(images, self.size), images)
