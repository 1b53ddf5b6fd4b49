"""Sections `images`, `queries`, `pools` and `patches`: where images come from."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from nndefense.config.base import Name, Section, Several, flat, registered, union_of, variant
from nndefense.core.options import Count, Share, read_options
from nndefense.images import KINDS
from nndefense.images.published import PUBLISHED


class ImageSection(Section):
    """An image set."""

    discriminator: ClassVar[str] = "kind"

    kind: str = Field(description="How the set is read.")

    @property
    def kinds(self) -> list[str]:
        """Its kind, and those of the sets that it is a part of."""
        return [self.kind, *(getattr(self, WHOLE).kinds if hasattr(self, WHOLE) else [])]


# The key under which the set stands that an image set is a part of.
WHOLE = "of"


def _variant(name: str, target: str) -> type[Section]:
    """The section of a kind; where its sets are part of another set, that one is a section of any kind, too."""
    options = read_options(target)
    if WHOLE not in options:
        return variant(ImageSection, name, target)
    annotation, default = options[WHOLE]
    more: dict[str, Any] = {WHOLE: (Annotated["ImageSet", get_args(annotation)[1]], default)}
    return variant(ImageSection, name, target, **more)


IMAGE_KINDS = {name: _variant(name, target) for name, target in registered(KINDS).items()}
ImageSet = union_of(IMAGE_KINDS)
# The union that such a section names exists only once all sections do.
for _section in IMAGE_KINDS.values():
    _section.model_rebuild(_types_namespace={"ImageSet": ImageSet})


# Options that change how images are fetched, cut or told apart, not which they are.
HANDLING = frozenset({"size", "resize", "crop", "tags", "caption", "label", "download"})


def sources_of(section: ImageSection) -> list[dict[str, Any]]:
    """What says which images a set has, then of the set that it is a part of: equal for sets that have the same."""
    whole = sources_of(getattr(section, WHOLE)) if hasattr(section, WHOLE) else []
    own = {key: value for key, value in section.model_dump().items() if key not in (*HANDLING, WHOLE)}
    return [own | {WHOLE: whole[:1]}, *whole]


def told_images(section: Any) -> tuple[int | None, int | None]:
    """Images of a set and their side in pixels by its options alone; None where these do not tell."""
    if hasattr(section, WHOLE):
        return None, told_images(getattr(section, WHOLE))[1]
    rows, side = getattr(section, "rows", None), getattr(section, "size", None)
    if section.kind == "torchvision":
        own, splits = PUBLISHED[section.name]
        rows = rows or splits.get(section.split, 0) - section.first
        side = side or own
    return rows, side


class Queries(Section):
    """The test images that are attacked and classified."""

    images: str = Field(description="The image set they come from.")
    count: Count | None = Field(1000, description="How many at most, drawn at random with the seed (null = all).")
    shared: bool = Field(
        False,
        description="Allow pools to draw from the image set that test images come from, from a part of it, or from one "
        "that it is a part of. Test images that a database has are counted in result rows all the same (`copies`).",
    )
    leave_out: Literal["nothing", "copies", "near"] = Field(
        "nothing",
        description="Database images that are not searched: `copies` of test images, pixel by pixel, or `near`, those "
        "and all whose code is off a test image's by at most 0.02 of its length.",
    )


class Validation(Section):
    """Labelled images that options of defences are chosen on (`defenses.*.tune`); never those of `queries`."""

    images: str = Field(
        description="The image set that they are drawn from; it may be that of `queries`, without its images."
    )
    count: Count = Field(1000, description="How many at most, drawn at random with the seed.")
    loss: Share = Field(
        0.05,
        description="Clean accuracy (0 to 1) that a choice may cost against no defence: the upper end of its one-sided "
        "95 % interval on these images.",
    )


Sizes = Annotated[list[Count | Annotated[list[Count], Field(min_length=1)]], *Several]


class Pool(Section):
    """An image database: a seeded permutation of its images, cut into nested databases of the given sizes."""

    images: Annotated[list[Name], *Several] = Field(description="The image sets the pool is drawn from.")
    tags: Literal["any", "task"] = Field(
        "any", description="`any`: every image; `task`: only images whose tag names a class of the task."
    )
    order: Literal["table", "function", "tars"] = Field(
        "table",
        description="How the permutation is kept: `table`, a row an image; `function`, computed for the rows that are "
        "asked for; `tars`, computed, too, for sets of kind `webdataset`: reads these one after the other, and a "
        "smaller database is a sample of tars. Each gives another order.",
    )
    sizes: Sizes | None = Field(None, description="Database sizes of this pool in images (null = the general `sizes`).")

    @property
    def values(self) -> list[int]:
        """The sizes, one by one, ascending."""
        return sorted(flat(self.sizes))


class Patches(Section):
    """Patches that image quilting puts images together from."""

    images: str = Field(description="The image set they are cut from.")
    count: Count = Field(2000, description="Images drawn at random from it, at most. Paper, 20,000.")
    per_image: Count = Field(50, description="Patches cut from each.")
