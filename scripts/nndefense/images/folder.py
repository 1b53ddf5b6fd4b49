"""Image files in class folders, or in one flat folder."""

import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import Whole
from nndefense.core.tables import ROWS
from nndefense.images.base import Batch, Block, ImageSet, text_column
from nndefense.images.classes import Origin, same_text
from nndefense.images.decode import ImageFile, Undecodable, decode, read_files
from nndefense.images.walk import (
    Seen,
    check_folder,
    class_folders,
    folder_news,
    note_folders,
    some,
    walk_images,
)

Side = Annotated[int, Field(ge=8)]


class Folder(ImageSet):
    """Image files in one folder per class.

    In the order of torchvision's ImageFolder: root/<class>/**/<file>. Files directly in `root` have label -1 and no
    tag. Hidden files and folders and other suffixes are not listed; a listed file that cannot be decoded keeps its row
    and is skipped when read. Without `size` it is that of the first readable image, which must be square, and images of
    another size are skipped. Folders that `classes` lacks have label -1. Names of classes are in Unicode's normal form
    C, whichever the file system keeps.

    Attributes:
        threads: decoding threads; 0 takes the CPUs this process may use.

    Raises:
        ConfigError: an option out of range, or a class that has no folder.
        InputError: `root` is missing or holds no image, or is refused by `walk_images`; two folders are one class.
    """

    threads: int = 0

    def __init__(
        self,
        root: Annotated[
            str,
            Field(
                min_length=1,
                description="The folder that holds the class folders, below `data` unless it is absolute.",
            ),
        ],
        size: Annotated[
            Side | None,
            Field(description="Side of the images the network sees, in pixels (null = as they are, all of one size)."),
        ] = None,
        resize: Annotated[
            Side | None,
            Field(
                description="Length in pixels the short side is resized to before the crop to `size` (null = `size`)."
            ),
        ] = None,
        crop: Annotated[
            Literal["center", "none"],
            Field(
                description="`center` cuts out the middle after resizing; `none` squeezes the whole image into the "
                "square."
            ),
        ] = "center",
        classes: Annotated[
            Mapping[str, Whole] | None,
            Field(
                description="Label index by folder name, e.g. ImageNet's 1000 indices of ten folders (null = labels "
                "are the rank of the folder's name)."
            ),
        ] = None,
    ):
        check_geometry("folder", size, resize, crop)
        self.root, self.resize, self.crop = Path(root), resize, crop
        check_folder(self.root)
        self.classes, self.exact = classes, size is None
        if size is not None:
            self.size = size

    @property
    def labels_by(self) -> Origin:
        return "ranks" if self.classes is None else "mapping"

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return _label_folders(self.root, self.classes)[1]

    @cached_property
    def size(self) -> int:
        return common_size(self, self.root)

    def list_rows(self) -> Iterator[Block]:
        labels, _ = _label_folders(self.root, self.classes)
        seen, now = Seen(), time.time()
        walk = walk_images(self.root, seen)
        while part := list(islice(walk, ROWS)):
            paths, folders = zip(*part, strict=True)
            tags = [same_text(folder) for folder in folders]
            yield {
                "source": text_column(paths),
                "label": np.array([labels.get(tag, -1) for tag in tags], dtype=np.int64),
                "tag": text_column(tags),
            }
        self._noted = note_folders(seen.folders.values(), self.root, now)

    def read_sources(self, sources: Sequence[str]) -> Batch:
        return read_files(self.files(sources), self.size, self.resize, self.crop, self.exact, self.threads)

    def files(self, sources: Sequence[str]) -> Sequence[Path]:
        return [self.root / source for source in sources]

    def noted(self) -> dict[str, Any]:
        return self._noted

    def news(self, noted: Mapping[str, Any]) -> str:
        return folder_news(self.root, noted)

    def read_bytes(self, source: str) -> bytes:
        """Bytes of an image. Raises OSError or Undecodable."""
        return ImageFile(self.root / source).read_bytes()


def check_geometry(kind: str, size: int | None, resize: int | None, crop: str = "center") -> None:
    """Raise ConfigError if size, resize and crop do not fit each other."""
    if size is not None and size < 1:
        raise ConfigError(f"{kind} size must be at least 1 pixel, got {size}")
    if crop not in ("center", "none"):
        raise ConfigError(f"{kind} crop must be center or none, got {crop!r}")
    if resize is None:
        return
    if size is None or crop == "none" or resize < size:
        raise ConfigError(f"{kind} resize is the short side before a center crop to size: it must be at least size")


def _label_folders(root: Path, classes: Mapping[str, int] | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class -> label, and the name of each label ("class 7" where no folder has it)."""
    folders = [same_text(name) for name in class_folders(root)]
    for name, before in zip(folders[1:], folders, strict=False):
        if name == before:
            raise InputError(
                f"{root} has two folders {name!r}, spelled with other code points; allowed: each class once"
            )
    for name in folders:
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
            raise InputError(f"{root} has the folder {name!a}; allowed: names of classes in UTF-8, on one line")
    if classes is None:
        return {name: number for number, name in enumerate(folders)}, tuple(folders)
    given = {same_text(name): label for name, label in classes.items()}
    for name, label in given.items():
        if name not in folders:
            raise ConfigError(f"classes names {name!r}, but {root} has no such folder; it has {some(folders)}")
        if label < 0:
            raise ConfigError(f"classes gives {name!r} the label {label}; labels start at 0")
    names = {label: name for name, label in given.items()}
    count = max(names, default=-1) + 1
    return given, tuple(names.get(label, f"class {label}") for label in range(count))


class Encoded(Protocol):
    """An image set whose images are stored as files are."""

    def manifest_blocks(self) -> Iterator[Block]:
        """As of `ImageSet`."""

    def read_bytes(self, source: str) -> bytes:
        """Bytes of an image. Raises OSError or Undecodable."""


def common_size(images: Encoded, where: object) -> int:
    """Side of the first readable image of a set; where: it is, for messages.

    Raises:
        ConfigError: it is not square.
        InputError: none can be read.
    """
    count = 0
    for block in images.manifest_blocks():
        skipped = block.get("skipped", np.full(len(block["source"]), ""))
        for source, reason in zip(block["source"].tolist(), skipped.tolist(), strict=True):
            count += 1
            try:
                width, height = (0, 0) if reason else decode(images.read_bytes(source)).size
            except (OSError, Undecodable):
                continue
            if width != height:
                raise ConfigError(f"{where}: {source} is {width} x {height}: images that are not square need a size")
            if width:
                return width
    raise InputError(f"{where} holds {count} images, and none of them can be decoded")
