"""Stanford Cars: photographs of 196 models of cars."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.io import loadmat

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
    missing,
)

WHOLE = "cars_annos.mat"
WANTED = (
    "root must hold either cars_annos.mat and the folder car_ims of car_ims.tgz, or the folder devkit of "
    "car_devkit.tgz, cars_test_annos_withlabels.mat, and the folders cars_train and cars_test of their archives "
    "(https://ai.stanford.edu/~jkrause/cars/car_dataset.html)"
)
# Split -> folder of its images, and where its annotations may lie.
DEVKIT = {
    "train": ("cars_train", ("devkit/cars_train_annos.mat",)),
    "test": ("cars_test", ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat")),
}


class Cars196(ListedImages):
    """Stanford Cars: 16,185 photographs of 196 models of cars (Krause et al. 2013).

    As one folder car_ims with cars_annos.mat, rows in that file's order; or, where that file is absent, as the folders
    cars_train and cars_test with the development kit, rows of the former first. Labels are the same, rows are not.
    `train` and `test` are the publisher's split (8,144 and 8,041 images), `first_classes` and `last_classes` models 1
    to 98 and 99 to 196 (8,054 and 8,131 images), on which metric learning trains and is tested (Oh Song et al. 2016).
    The lists are MATLAB files, read by SciPy without pickles.

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
                description="The folder that holds cars_annos.mat and car_ims, or devkit, cars_train and cars_test; "
                "below `data` unless it is absolute.",
            ),
        ],
        size: Size,
        part: Part = "all",
        resize: Resize = None,
        crop: Crop = "center",
    ):
        check_options("cars196", part, PARTS, size, resize, crop)
        self.hold(Path(root), size, resize, crop)
        self.part = part

    def read_lists(self) -> tuple[Listing, np.ndarray]:
        apart = (self.root / "devkit").is_dir() and not (self.root / WHOLE).exists()
        listing, train = _read_devkit(self.root, self.part) if apart else _read_whole(self.root)
        return listing, in_part(self.part, listing, train)


def _read_whole(root: Path) -> tuple[Listing, np.ndarray]:
    """All images of car_ims, and whether each is for training, (n,) bool."""
    path = root / WHOLE
    content = _read_mat(path, "annotations", "class_names")
    names = _names(path, content)
    paths = [inside(one, path) for one in _column(path, content, "relative_im_path", str)]
    labels = labels_of(_column(path, content, "class", int), len(names), path)
    return Listing(paths, labels, names), np.array(_column(path, content, "test", int)) == 0


def _read_devkit(root: Path, part: str) -> tuple[Listing, np.ndarray]:
    """The images of cars_train and cars_test, or of one of them where that is the part, and which are for training."""
    meta = root / "devkit/cars_meta.mat"
    names = _names(meta, _read_mat(meta, "class_names"))
    paths, labels, train = [], [], []
    for split, (folder, places) in DEVKIT.items():
        if part in DEVKIT and part != split:
            continue
        path = next((root / place for place in places if (root / place).exists()), root / places[0])
        content = _read_mat(path, "annotations")
        paths += [f"{folder}/{inside(name, path)}" for name in _column(path, content, "fname", str)]
        labels.append(labels_of(_column(path, content, "class", int), len(names), path))
        train += [split == "train"] * len(labels[-1])
    return Listing(paths, np.concatenate(labels), names), np.array(train, dtype=bool)


def _read_mat(path: Path, *names: str) -> Mapping[str, Any]:
    """Some variables of a MATLAB file. Raises InputError if it is missing or damaged, or lacks one."""
    try:
        with path.open("rb") as stream:
            content = loadmat(stream, squeeze_me=True, variable_names=names)
    except Exception as error:  # SciPy's reader raises many kinds for damaged bytes
        raise missing(path, WANTED, error) from error
    if lacking := [name for name in names if name not in content]:
        raise InputError(f"{path} has no variable {lacking[0]!r}; {WANTED}")
    return content


def _names(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    names = np.atleast_1d(content["class_names"]).tolist()
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: class_names must be texts, as in the published file")
    return tuple(names)


def _column(path: Path, content: Mapping[str, Any], field: str, kind: type) -> list[Any]:
    """A field of all annotations; kind: int or str."""
    annotations = np.atleast_1d(content["annotations"])
    if field not in (annotations.dtype.names or ()):
        raise InputError(f"{path}: the annotations have no field {field!r}; {WANTED}")
    values = annotations[field].tolist()
    if not all(isinstance(value, kind) for value in values):
        raise InputError(f"{path}: {field} must be {'numbers' if kind is int else 'texts'}, as in the published file")
    return values
