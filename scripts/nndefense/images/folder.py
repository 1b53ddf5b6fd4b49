"""Image files in class folders, or in one flat folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import Whole
from nndefense.images.base import Batch, ImageSet, checked_rows, text_column
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
        self.exact = size is None
        self.paths, self.tags = list_images(self.root)
        labels, self.class_names = _label_folders(self.root, classes)
        self.labels = np.array([labels.get(tag, -1) for tag in self.tags], dtype=np.int64)
        self.size = _common_size(self.paths, self.root) if size is None else size

    def __len__(self) -> int:
        return len(self.paths)

    def manifest(self) -> dict[str, np.ndarray]:
        return {
            "source": text_column([path.relative_to(self.root).as_posix() for path in self.paths]),
            "label": self.labels.copy(),
            "tag": text_column(self.tags),
        }

    def read(self, rows: Sequence[int]) -> Batch:
        paths = [self.paths[row] for row in checked_rows(rows, len(self))]
        return read_files(paths, self.size, self.resize, self.crop, self.exact, self.threads)


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


def list_images(root: Path) -> tuple[list[Path], list[str]]:
    """Image files under `root` and the first folder of each below it ("" for none), in a stable order."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected images there, as {root}/<class>/<name>.jpg")
    paths, tags = [], []
    for folder, _, names in sorted(os.walk(root, followlinks=True)):
        parts = Path(folder).relative_to(root).parts
        if any(part.startswith(".") for part in parts):
            continue
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                paths.append(Path(folder, name))
                tags.append(parts[0] if parts else "")
    if not paths:
        raise InputError(f"{root} holds no image; expected {root}/<class>/<name>.jpg ({', '.join(SUFFIXES)})")
    order = sorted(range(len(paths)), key=lambda i: (tags[i], i))
    return [paths[i] for i in order], [tags[i] for i in order]


def _label_folders(root: Path, classes: Mapping[str, int] | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Folder -> label, and the name of each label ("class 7" where no folder has it)."""
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")
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


def _common_size(paths: Sequence[Path], root: Path) -> int:
    """Side of the first readable image."""
    for path in paths:
        try:
            width, height = decode(path.read_bytes()).size
        except (OSError, Undecodable):
            continue
        if width != height:
            raise ConfigError(f"{path} is {width} x {height}: images that are not square need a size")
        return width
    raise InputError(f"{root} holds {len(paths)} image files, and none of them can be decoded")
