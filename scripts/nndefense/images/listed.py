"""What data sets share whose publishers list the image files, their classes and their splits."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError, InputError
from nndefense.images.base import Batch, Block, ImageSet, text_column
from nndefense.images.classes import same_text
from nndefense.images.decode import read_files
from nndefense.images.folder import Side, check_geometry

HALVES = ("all", "first_classes", "last_classes")
PARTS = ("all", "train", "test", "first_classes", "last_classes")

# Options of all of them.
Part = Annotated[
    Literal[PARTS],  # type: ignore[valid-type]  # words that stand in a tuple, for pydantic
    Field(
        description="Which images: `all`; the publisher's split for classification, `train` or `test`; or its use for "
        "retrieval, `first_classes`, the first half of the classes (to train on), or `last_classes`, the second half "
        "(to search in). Labels stay those of all classes."
    ),
]
Size = Annotated[Side, Field(description="Side of the images the network sees, in pixels.")]
Resize = Annotated[
    Side | None,
    Field(description="Length in pixels the short side is resized to before the crop to `size` (null = `size`)."),
]
Crop = Annotated[
    Literal["center", "none"],
    Field(description="`center` cuts out the middle after resizing; `none` squeezes the whole image into the square."),
]


@dataclass(frozen=True)
class Listing:
    """What a data set's lists say, one entry an image.

    Attributes:
        paths: of the files, from the root, with forward slashes.
        labels: (n,) int64, which index `class_names`.
        class_names: of the whole data set.
    """

    paths: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]


class ListedImages(ImageSet):
    """Image files that lists name; one that is absent keeps its row, and is skipped when read.

    Attributes:
        threads: decoding threads; 0 takes the CPUs this process may use.
    """

    threads: int = 0

    def hold(self, root: Path, size: int, resize: int | None, crop: str) -> None:
        """Note options that all of them have.

        Args:
            root: folder that paths start from.
            size, resize, crop: as of `decode.fit`.
        """
        self.root, self.size, self.resize, self.crop = root, size, resize, crop

    @abstractmethod
    def read_lists(self) -> tuple[Listing, np.ndarray]:
        """What the lists say, and which of the images are rows of this set, (n,) bool.

        Raises:
            InputError: a list is missing or damaged.
        """

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(map(same_text, self._lists[0].class_names))

    @cached_property
    def _lists(self) -> tuple[Listing, np.ndarray]:
        return self.read_lists()

    def list_rows(self) -> Iterator[Block]:
        listing, kept = self._lists
        if not kept.any():
            raise InputError(f"{self.root}: its lists name no image in this part; allowed: a part that has some")
        labels = listing.labels[kept]
        yield {
            "source": text_column([listing.paths[row] for row in np.flatnonzero(kept).tolist()]),
            "label": labels,
            "tag": text_column([self.class_names[label] for label in labels]),
        }

    def read_sources(self, sources: Sequence[str]) -> Batch:
        return read_files(self.files(sources), self.size, self.resize, self.crop, threads=self.threads)

    def files(self, sources: Sequence[str]) -> Sequence[Path]:
        return [self.root / source for source in sources]


def check_options(kind: str, part: str, parts: Sequence[str], size: int, resize: int | None, crop: str) -> None:
    """Raise ConfigError for a part that is not among `parts`, or for sizes that do not fit each other."""
    if part not in parts:
        raise ConfigError(f"{kind} has no part {part!r}; allowed: {', '.join(parts)}")
    check_geometry(kind, size, resize, crop)


def in_part(part: str, listing: Listing, train: np.ndarray) -> np.ndarray:
    """Which images are in a part, (n,) bool.

    Args:
        part: one of PARTS. Half of an odd number of classes is rounded down for the first half.
        listing: of the data set.
        train: (n,) bool, the images that its publisher trains on.
    """
    first = listing.labels < len(listing.class_names) // 2
    parts = {"all": np.full(len(first), True), "train": train, "test": ~train}
    return (parts | {"first_classes": first, "last_classes": ~first})[part]


def read_list(path: Path, columns: Sequence[type], wanted: str, header: str = "") -> list[Any]:
    """The lines of a list whose columns are separated by spaces.

    Args:
        path: of the list, UTF-8.
        columns: int or str each; the last one may hold spaces.
        wanted: where the file comes from and where it belongs, for messages.
        header: the first line, which is no entry.

    Raises:
        InputError: the file is missing or not readable as text, or a line is not of this form.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise missing(path, wanted, error) from error
    if header and lines[0].split() != header.split():
        raise InputError(f"{path}: the first line is {lines[0][:60]!r}; allowed: {header!r}")
    found = []
    for number, line in enumerate(lines[bool(header) :], start=1 + bool(header)):
        if not line.strip():
            continue
        parts = line.strip().split(maxsplit=len(columns) - 1)
        try:
            found.append(tuple(column(part) for column, part in zip(columns, parts, strict=True)))
        except ValueError:
            form = " ".join("NUMBER" if column is int else "TEXT" for column in columns)
            raise InputError(f"{path}, line {number}: {line[:60]!r}; allowed: {form}") from None
    return found


def missing(path: Path, wanted: str, error: Exception) -> InputError:
    """What to say of a list that cannot be read: what to download, and where it belongs."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError(f"{path} is missing; {wanted}")
    cause = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{path} is damaged or unreadable ({cause}); {wanted}")


def inside(path: str, source: Path) -> str:
    """Return a path that a list names, which must not lead out of the data set's folder.

    Args:
        path: as listed.
        source: the list, for messages.

    Raises:
        InputError: an absolute path, or one with "..", to this or to another operating system.
    """
    # Of all flavours, Windows' knows the most ways to be absolute and to separate parts.
    parts = PureWindowsPath(path)
    if parts.anchor or ".." in parts.parts or not parts.parts or "\0" in path:
        raise InputError(f'{source} names the file {path[:100]!r}; allowed: paths below its folder, without ".."')
    return path


def labels_of(numbers: Sequence[int], classes: int, source: Path) -> np.ndarray:
    """Labels (n,) int64 from the numbers of classes, which count from 1.

    Raises:
        InputError: a number that no class has.
    """
    for number in numbers:
        if not 1 <= number <= classes:
            raise InputError(f"{source} names class {number}; allowed: 1 to {classes}")
    return np.array(numbers, dtype=np.int64).reshape(-1) - 1
