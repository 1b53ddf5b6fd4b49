"""Published data sets in the formats that torchvision reads."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field
from torchvision import datasets

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.options import Count, Whole
from nndefense.core.progress import blocks
from nndefense.core.tables import ROWS
from nndefense.images.base import Batch, Block, ImageSet, checked_rows, number_of, text_column
from nndefense.images.decode import fit, read_files
from nndefense.images.folder import Side, check_geometry


@dataclass(frozen=True)
class Source:
    """How torchvision opens a data set, and what it expects to find.

    Attributes:
        load: (root, split, download) -> torchvision data set.
        splits: allowed splits.
        expected: what to download, and where it belongs below the root.
    """

    load: Callable[[str, str, bool], object]
    splits: tuple[str, ...]
    expected: str


def _train_or_test(cls: type) -> Callable[[str, str, bool], object]:
    return lambda root, split, download: cls(root, train=split == "train", download=download)


SOURCES = {
    "CIFAR10": Source(
        _train_or_test(datasets.CIFAR10),
        ("train", "test"),
        "cifar-10-python.tar.gz, unpacked to cifar-10-batches-py/",
    ),
    "CIFAR100": Source(
        _train_or_test(datasets.CIFAR100),
        ("train", "test"),
        "cifar-100-python.tar.gz, unpacked to cifar-100-python/",
    ),
    "SVHN": Source(
        lambda root, split, download: datasets.SVHN(root, split, download=download),
        ("train", "test", "extra"),
        "train_32x32.mat, test_32x32.mat or extra_32x32.mat of the cropped digits (format 2)",
    ),
    "FashionMNIST": Source(
        _train_or_test(datasets.FashionMNIST),
        ("train", "test"),
        "the four idx files (train-images-idx3-ubyte ...), unpacked to FashionMNIST/raw/",
    ),
    "ImageNet": Source(
        lambda root, split, download: datasets.ImageNet(root, split),
        ("train", "val"),
        "ILSVRC2012_devkit_t12.tar.gz and ILSVRC2012_img_train.tar or _val.tar (by registration)",
    ),
}


class Taken(NamedTuple):
    """Rows of a split.

    Attributes:
        labels: (n,) int64.
        class_names: that these index.
        paths: from the root where images are files, else none.
        pixels: uint8 (n, H, W, 3) where they are held in memory, else none.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    paths: list[str]
    pixels: np.ndarray


class TorchvisionSet(ImageSet):
    """A data set that torchvision reads.

    Tags are the class names, grey images are repeated over three channels. CIFAR's files are pickles by their
    publishers; torchvision opens them only after an MD5 check. SVHN's are MATLAB files, read by SciPy without pickles.
    All but ImageNet is held in memory: SVHN's extra split (531,131 images) takes 1.6 GB, and twice that while it is
    opened. ImageNet needs a size and cannot be fetched, as it needs registration; `resize` is for ImageNet only.

    Raises:
        ConfigError: an unknown name or split, a size that does not fit, or rows that the split does not have.
        InputError: the data is missing or damaged; the message says what to download.
    """

    def __init__(
        self,
        name: Annotated[
            Literal["CIFAR10", "CIFAR100", "SVHN", "FashionMNIST", "ImageNet"], Field(description="Which one.")
        ],
        root: Annotated[
            str, Field(min_length=1, description="Folder of its files, below `data` unless it is absolute.")
        ],
        split: Annotated[
            Literal["train", "test", "val", "extra"],
            Field(description="Part of the data set; ImageNet has train and val, SVHN also extra."),
        ] = "test",
        download: Annotated[bool, Field(description="Fetch it where it is absent and the licence allows it.")] = False,
        first: Annotated[
            Whole,
            Field(description="First image taken. Sets that must not share images take ranges that do not overlap."),
        ] = 0,
        rows: Annotated[
            Count | None, Field(description="Number of images taken from there (null = all that follow).")
        ] = None,
        size: Annotated[
            Side | None,
            Field(description="Side the images are resized and cropped to, in pixels (null = as they are)."),
        ] = None,
        resize: Annotated[
            Side | None,
            Field(
                description="Length in pixels the short side is resized to before the crop (null = 256/224 of `size` "
                "for ImageNet, else `size`)."
            ),
        ] = None,
    ):
        if name not in SOURCES:
            raise ConfigError(f"unknown torchvision set {name!r}; allowed: {', '.join(SOURCES)}")
        if split not in SOURCES[name].splits:
            raise ConfigError(f"{name} has no split {split!r}; allowed: {', '.join(SOURCES[name].splits)}")
        check_geometry("torchvision", size, resize)
        if name == "ImageNet" and (size is None or download):
            raise ConfigError("ImageNet needs a size, and cannot be downloaded without registration")
        if name != "ImageNet" and resize is not None:
            raise ConfigError(f"resize is for ImageNet; {name} has images of one size")
        self.name, self.split, self.root, self.download = name, split, Path(root), download
        self.first, self.rows = first, rows
        self.numbered = name != "ImageNet"
        if size is not None:
            self.size = size
            self.resize = None if self.numbered else resize or round(size * 256 / 224)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return self._taken.class_names

    @cached_property
    def size(self) -> int:
        return self.pixels.shape[1]

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (n, H, W, 3) of a set that is held in memory."""
        return self._taken.pixels

    @cached_property
    def _taken(self) -> Taken:
        """What torchvision reads; nothing of ImageNet is, where the set was listed before."""
        data = _load(self.name, str(self.root), self.split, self.download)
        labels = _labels(self.name, data)
        taken = _range(f"{self.name} {self.split}", self.first, self.rows, len(labels))
        names = [str(digit) for digit in range(10)] if self.name == "SVHN" else data.classes
        paths, pixels = [], np.empty(0, dtype=np.uint8)
        if self.numbered:
            pixels = _pixels(data.data, taken)
        else:
            paths = [Path(path).relative_to(self.root).as_posix() for path, _ in data.samples[taken]]
        return Taken(labels[taken], tuple(n if isinstance(n, str) else n[0] for n in names), paths, pixels)

    def __len__(self) -> int:
        return len(self._taken.labels) if self.numbered else super().__len__()

    def list_rows(self) -> Iterator[Block]:
        labels, names, paths, _ = self._taken
        for part in blocks(len(labels), ROWS):
            rows = range(self.first + part.start, self.first + part.stop)
            sources = [f"{self.name}/{self.split}/{row}" for row in rows] if self.numbered else paths[part]
            tags = [names[label] for label in labels[part]]
            yield {"source": text_column(sources), "label": labels[part], "tag": text_column(tags)}

    def read_sources(self, sources: Sequence[str]) -> Batch:
        if self.numbered:
            return self.read([number_of(source) - self.first for source in sources])
        return read_files(self.files(sources), self.size, self.resize, "center")

    def files(self, sources: Sequence[str]) -> Sequence[Path]:
        return [] if self.numbered else [self.root / source for source in sources]

    def read(self, rows: Sequence[int] | np.ndarray) -> Batch:
        if not self.numbered:
            return super().read(rows)
        images = self.pixels[checked_rows(rows, len(self))]
        if self.size != images.shape[1]:
            images = [np.asarray(fit(Image.fromarray(image), self.size, None, "center")) for image in images]
            images = np.array(images, dtype=np.uint8).reshape(-1, self.size, self.size, 3)
        return Batch(images)


def _load(name: str, root: str, split: str, download: bool) -> Any:
    try:
        return SOURCES[name].load(root, split, download)
    except Exception as error:  # torchvision's readers raise many kinds for missing, damaged or unreachable data
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        way = "" if name == "ImageNet" else ", or set download: true where the network allows it"
        raise InputError(
            f"{name} {split} is missing or damaged in {root}: put there {SOURCES[name].expected}{way} ({cause})"
        ) from error


def _labels(name: str, data: Any) -> np.ndarray:
    """Labels (n,) int64; a set of one image keeps its axis."""
    if name == "ImageNet":
        labels = [label for _, label in data.samples]
    else:
        labels = data.labels if name == "SVHN" else data.targets
    return np.atleast_1d(np.asarray(labels, dtype=np.int64))


def _range(what: str, first: int, rows: int | None, length: int) -> slice:
    """The rows taken of `length`. Raises ConfigError for rows that are not there."""
    stop = length if rows is None else first + rows
    if not 0 <= first < stop <= length:
        wanted = "all rows" if rows is None else f"{rows} rows"
        raise ConfigError(f"{what} has {length} rows; first: {first} with {wanted} is not within them")
    return slice(first, stop)


def _pixels(data: object, taken: slice) -> np.ndarray:
    """uint8 (n, H, W, 3) of some rows of the array or tensor that a torchvision data set holds."""
    array = np.asarray(data)[taken]
    if array.ndim == 3:
        return np.repeat(array[..., None], 3, axis=-1)
    # A view would keep all rows in memory.
    return np.array(array.transpose(0, 2, 3, 1) if array.shape[1] == 3 else array, order="C")
