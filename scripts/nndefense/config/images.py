"""Sections `images`, `queries`, `pools` and `patches`: where images come from."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nndefense.config.base import Name, Section, Several, registered, union_of, variant
from nndefense.core.options import Count
from nndefense.images import KINDS


class ImageSection(Section):
    """An image set."""

    discriminator: ClassVar[str] = "kind"

    kind: str = Field(description="How the set is read.")


IMAGE_KINDS = {name: variant(ImageSection, name, target) for name, target in registered(KINDS).items()}
ImageSet = union_of(IMAGE_KINDS)


class Queries(Section):
    """The test images that are attacked and classified."""

    images: str = Field(description="The image set they come from.")
    count: Count | None = Field(1000, description="How many, drawn at random with the seed (null = all).")


Sizes = Annotated[list[Count], *Several]


class Pool(Section):
    """An image database: a seeded permutation of its images, cut into nested databases of the given sizes."""

    images: Annotated[list[Name], *Several] = Field(description="The image sets the pool is drawn from.")
    tags: Literal["any", "task"] = Field(
        "any", description="`any`: every image; `task`: only images whose tag names a class of the task."
    )
    sizes: Sizes | None = Field(None, description="Database sizes of this pool in images (null = the general `sizes`).")


class Patches(Section):
    """Patches that image quilting puts images together from."""

    images: str = Field(description="The image set they are cut from.")
    count: Count = Field(2000, description="Images drawn at random from it. Paper, 20,000.")
    per_image: Count = Field(50, description="Patches cut from each.")
