"""Stanford Online Products: photographs of 22,634 products on offer at eBay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError
from nndefense.images.listed import (
    HALVES,
    Crop,
    ListedImages,
    Listing,
    Resize,
    Size,
    check_options,
    inside,
    read_list,
)

HEADER = "image_id class_id super_class_id path"
LISTS = ("Ebay_train.txt", "Ebay_test.txt")
LABELS = ("product", "category")
WANTED = (
    "root must be the folder Stanford_Online_Products that Stanford_Online_Products.zip "
    "(https://cvgl.stanford.edu/projects/lifted_struct) holds"
)


class OnlineProducts(ListedImages):
    """Stanford Online Products: 120,053 photographs of 22,634 products in 12 categories (Oh Song et al. 2016).

    Rows are those of Ebay_train.txt and then those of Ebay_test.txt. A product is called by its category and number.

    Raises:
        ConfigError: an option out of range.
        InputError: a list is missing or damaged; the message says what to download.
    """

    def __init__(
        self,
        root: Annotated[
            str,
            Field(
                min_length=1,
                description="The folder Stanford_Online_Products of the archive, below `data` unless it is absolute.",
            ),
        ],
        size: Size,
        part: Annotated[
            Literal[HALVES],  # type: ignore[valid-type]  # words that stand in a tuple, for pydantic
            Field(
                description="Which images: `all`; `first_classes`, the products of Ebay_train.txt (to train on, 59,551 "
                "images); or `last_classes`, those of Ebay_test.txt (to search in, 60,502 images). Labels stay those "
                "of all classes."
            ),
        ] = "all",
        label: Annotated[
            Literal[LABELS],  # type: ignore[valid-type]  # likewise
            Field(description="What labels and tags tell apart: each `product` (22,634) or each `category` (12)."),
        ] = "product",
        resize: Resize = None,
        crop: Crop = "center",
    ):
        check_options("online_products", part, HALVES, size, resize, crop)
        if label not in LABELS:
            raise ConfigError(f"online_products has no label {label!r}; allowed: {', '.join(LABELS)}")
        self.hold(Path(root), size, resize, crop)
        self.part, self.label = part, label

    def read_lists(self) -> tuple[Listing, np.ndarray]:
        listing, first = _read(self.root, self.label)
        parts = {"all": np.full(len(first), True), "first_classes": first, "last_classes": ~first}
        return listing, parts[self.part]


def _read(root: Path, label: str) -> tuple[Listing, np.ndarray]:
    """All images, and whether each stands in the first list, (n,) bool."""
    lists = [read_list(root / name, (int, int, int, str), WANTED, HEADER) for name in LISTS]
    paths = [inside(row[3], root / name) for name, rows in zip(LISTS, lists, strict=True) for row in rows]
    products, categories = ([row[column] for rows in lists for row in rows] for column in (1, 2))
    names = {number: _words(path) for number, path in zip(categories, paths, strict=True)}
    numbers = categories
    if label == "product":
        names = {one: f"{names[number]} {one}" for one, number in zip(products, categories, strict=True)}
        numbers = products
    labels, order = _ranks(numbers)
    listing = Listing(paths, labels, tuple(names[number] for number in order))
    return listing, np.arange(len(paths)) < len(lists[0])


def _ranks(numbers: Sequence[int]) -> tuple[np.ndarray, list[int]]:
    """The rank of each number among those that occur, (n,) int64, and these in order."""
    order = sorted(set(numbers))
    ranks = {number: rank for rank, number in enumerate(order)}
    return np.array([ranks[number] for number in numbers], dtype=np.int64), order


def _words(path: str) -> str:
    """The category in words: `coffee maker` for `coffee_maker_final/111085122871_0.JPG`."""
    return path.partition("/")[0].removesuffix("_final").replace("_", " ")
