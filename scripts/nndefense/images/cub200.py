"""CUB-200-2011: photographs of 200 species of birds."""

from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import Field

from nndefense.core.errors import InputError
from nndefense.images.listed import (
    PARTS,
    Crop,
    ListedImages,
    Listing,
    Part,
    Resize,
    Size,
    check_options,
    in_part,
    inside,
    labels_of,
    read_list,
)

WANTED = (
    "root must be the folder CUB_200_2011 that CUB_200_2011.tgz (https://data.caltech.edu/records/65de6-vp158) holds"
)

Value = TypeVar("Value", int, str)


class Cub200(ListedImages):
    """Caltech-UCSD Birds-200-2011: 11,788 photographs of 200 species (Wah et al. 2011).

    Rows are in the order of images.txt, class names those of classes.txt as words. `train` and `test` are the split of
    train_test_split.txt (5,994 and 5,794 images), `first_classes` and `last_classes` species 1 to 100 and 101 to 200
    (5,864 and 5,924 images), on which metric learning trains and is tested (Oh Song et al. 2016).

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
                description="The folder CUB_200_2011 of the archive, below `data` unless it is absolute.",
            ),
        ],
        size: Size,
        part: Part = "all",
        resize: Resize = None,
        crop: Crop = "center",
    ):
        check_options("cub200", part, PARTS, size, resize, crop)
        self.hold(Path(root), size, resize, crop)
        self.part = part

    def read_lists(self) -> tuple[Listing, np.ndarray]:
        listing, train = _read(self.root)
        return listing, in_part(self.part, listing, train)


def _read(root: Path) -> tuple[Listing, np.ndarray]:
    """All images, and whether each is for training, (n,) bool."""
    paths, classes = _by_number(root / "images.txt", str), _by_number(root / "classes.txt", str)
    numbers = _matched(root / "image_class_labels.txt", paths)
    train = _matched(root / "train_test_split.txt", paths)
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise InputError(f"{root / 'classes.txt'}: its numbers are not 1 to {len(classes)}, each once")
    listing = Listing(
        [f"images/{inside(path, root / 'images.txt')}" for path in paths.values()],
        labels_of(numbers, len(classes), root / "image_class_labels.txt"),
        tuple(_words(classes[number]) for number in sorted(classes)),
    )
    return listing, np.array(train) == 1


def _by_number(path: Path, value: type[Value]) -> dict[int, Value]:
    """A list of numbers and values. Raises InputError for a number that stands there twice."""
    rows = read_list(path, (int, value), WANTED)
    found: dict[int, Value] = dict(rows)
    if len(found) < len(rows):
        raise InputError(f"{path} has {len(rows)} lines, but only {len(found)} numbers; allowed: each number once")
    return found


def _matched(path: Path, images: dict[int, str]) -> list[int]:
    """The value that a list gives to each image, in the images' order."""
    found = _by_number(path, int)
    if found.keys() != images.keys():
        lone = min(found.keys() ^ images.keys())
        raise InputError(f"{path} and images.txt do not list the same images: only one of them has number {lone}")
    return [found[number] for number in images]


def _words(folder: str) -> str:
    """The name of a class in words: `Black footed Albatross` for `001.Black_footed_Albatross`."""
    return (folder.partition(".")[2] or folder).replace("_", " ")
