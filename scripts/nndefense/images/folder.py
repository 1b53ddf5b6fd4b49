"""Image files in class folders, or in one flat folder."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import Whole
from nndefense.core.tables import ROWS
from nndefense.images.base import Batch, Block, ImageSet, text_column
from nndefense.images.decode import Undecodable, decode, read_files

Side = Annotated[int, Field(ge=8)]
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Folder(ImageSet):
    """Image files in one folder per class.

    In the order of torchvision's ImageFolder: root/<class>/**/<file>. Files directly in `root` have label -1 and no
    tag. Hidden files and folders and other suffixes are not listed; a listed file that cannot be decoded keeps its row
    and is skipped when read. Without `size` it is that of the first readable image, which must be square, and images of
    another size are skipped. Folders that `classes` lacks have label -1.

    Attributes:
        threads: decoding threads; 0 takes the CPUs this process may use.

    Raises:
        ConfigError: an option out of range, or a class that has no folder.
        InputError: `root` is missing or holds no image.
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

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return _label_folders(self.root, self.classes)[1]

    @cached_property
    def size(self) -> int:
        return common_size(self, self.root)

    def list_rows(self) -> Iterator[Block]:
        labels, _ = _label_folders(self.root, self.classes)
        walk = walk_images(self.root)
        while part := list(islice(walk, ROWS)):
            paths, tags = zip(*part, strict=True)
            yield {
                "source": text_column(paths),
                "label": np.array([labels.get(tag, -1) for tag in tags], dtype=np.int64),
                "tag": text_column(tags),
            }

    def read_sources(self, sources: Sequence[str]) -> Batch:
        paths = [self.root / source for source in sources]
        return read_files(paths, self.size, self.resize, self.crop, self.exact, self.threads)

    def read_bytes(self, source: str) -> bytes:
        """Bytes of an image. Raises OSError."""
        return (self.root / source).read_bytes()


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


def check_folder(root: Path) -> None:
    """Raise InputError if `root` is not a folder."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected images there, as {root}/<class>/<name>.jpg")


def list_images(root: Path) -> tuple[list[Path], list[str]]:
    """Image files under `root` and the first folder of each below it ("" for none), in a stable order."""
    found = list(walk_images(root))
    return [root / path for path, _ in found], [tag for _, tag in found]


def walk_images(root: Path) -> Iterator[tuple[str, str]]:
    """Image files under `root` in a stable order; holds the names of one of its folders at a time.

    Yields:
        The path from `root` with forward slashes, and the first folder of it ("" for none).

    Raises:
        InputError: `root` is no folder, or holds no image.
    """
    check_folder(root)
    folders, names = _entries(root)
    empty = True
    for name in _images(names):
        empty = False
        yield name, ""
    for tag in folders:
        for below, inside in _image_folders(root / tag):
            for name in inside:
                empty = False
                yield f"{tag}/{below}{name}", tag
    if empty:
        raise InputError(f"{root} holds no image; expected {root}/<class>/<name>.jpg ({', '.join(SUFFIXES)})")


def _image_folders(folder: Path) -> list[tuple[str, list[str]]]:
    """A folder and all folders in it, in order: what paths to images there start with, and their names."""
    found = []
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = _visible(inner)
        below = "" if place == str(folder) else Path(place).relative_to(folder).as_posix() + "/"
        found.append((place, below, _images(names)))
    return [(below, names) for _, below, names in sorted(found)]


def _entries(root: Path) -> tuple[list[str], list[str]]:
    """Visible folders in a folder, sorted, and files there."""
    _, folders, names = next(os.walk(root), ("", [], []))
    return sorted(_visible(folders)), names


def _visible(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _images(names: Sequence[str]) -> list[str]:
    return sorted(name for name in _visible(names) if name.lower().endswith(SUFFIXES))


def _label_folders(root: Path, classes: Mapping[str, int] | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Folder -> label, and the name of each label ("class 7" where no folder has it)."""
    folders, _ = _entries(root)
    if classes is None:
        return {name: number for number, name in enumerate(folders)}, tuple(folders)
    for name, label in classes.items():
        if name not in folders:
            raise ConfigError(f"classes names {name!r}, but {root} has no such folder; it has {_some(folders)}")
        if label < 0:
            raise ConfigError(f"classes gives {name!r} the label {label}; labels start at 0")
    names = {label: name for name, label in classes.items()}
    count = max(names, default=-1) + 1
    return dict(classes), tuple(names.get(label, f"class {label}") for label in range(count))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "") or "none"


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
