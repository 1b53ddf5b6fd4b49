"""What every image set offers: rows that are listed without decoding and keep their ids, and images by what was listed.

A set is opened from its options, which reads nothing. It is listed block by block; where it was listed before, what
reading needs of a row is found in its manifest instead, so that opening costs the same for any number of rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from nndefense.core.errors import FileFault, InputError
from nndefense.images.classes import Origin
from nndefense.images.states import first_changed

Block = dict[str, np.ndarray]


@dataclass
class Batch:
    """Images read together.

    Attributes:
        images: uint8 (n, H, W, 3), RGB; positions in `skipped` hold zeros.
        skipped: position in the batch -> reason ("truncated", "not an image", ...).
    """

    images: np.ndarray
    skipped: dict[int, str] = field(default_factory=dict)


class Places(NamedTuple):
    """Where images of some rows are.

    Attributes:
        sources: one a row.
        skipped: position -> why it is skipped, as far as listing has found that out.
        states: of files of their own, as `states.state_of` gave them, one a row; none of other images.
    """

    sources: list[str]
    skipped: dict[int, str]
    states: Sequence[str] = ()


class Manifest(Protocol):
    """What was listed of a set."""

    def __len__(self) -> int:
        """Number of rows."""

    def blocks(self) -> Iterator[Block]:
        """The manifest, block by block."""

    def places(self, rows: np.ndarray) -> Places:
        """Where images of rows (n,) are."""


class HeldManifest:
    """A manifest in memory, of blocks as they are listed."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        parts = list(blocks)
        self.columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def __len__(self) -> int:
        return len(self.columns["source"])

    def blocks(self) -> Iterator[Block]:
        """The manifest as one block."""
        yield self.columns

    def places(self, rows: np.ndarray) -> Places:
        """Where images of rows (n,) are."""
        reasons = self.columns["skipped"][rows].tolist() if "skipped" in self.columns else []
        return Places(self.columns["source"][rows].tolist(), {n: one for n, one in enumerate(reasons) if one})


class ImageSet(ABC):
    """An ordered set of images; row ids are 0 .. len - 1 and never change, also when an image is skipped.

    Attributes:
        class_names: the names that labels index.
        size: side of the images in pixels.
        resize: pixels of the short side before cropping; None: size.
        crop: "center", or "none" where the whole image is squeezed into the square.
        labels_by: where labels come from, once the set is listed.
        numbered: whether rows are read by their number alone, so that where they are need not be noted.
        listed_as: name under which the set was listed; empty if it is opened anew.
    """

    class_names: tuple[str, ...]
    size: int
    resize: int | None = None
    crop: str = "center"
    labels_by: Origin = "list"
    numbered: bool = False
    listed_as: str = ""

    @abstractmethod
    def list_rows(self) -> Iterator[Block]:
        """List the set: blocks of rows in order, without decoding; each some entries of "source" (str, which tells
        where the image is), "label" (int64, -1 = none), "tag" (str, "" = none) and, where that is known, "skipped"
        (str, "" = no): why a row is.
        """

    @abstractmethod
    def read_sources(self, sources: Sequence[str]) -> Batch:
        """Return the images at `sources`, as `list_rows` gives them, in that order."""

    def files(self, sources: Sequence[str]) -> Sequence[Path]:
        """The files that images at `sources` are, one each; none where images have no files of their own."""
        return ()

    @cached_property
    def listed(self) -> Manifest:
        """What was listed: now, and held in memory, unless the set was opened as it was listed before."""
        return HeldManifest(self.list_rows())

    def __len__(self) -> int:
        """Number of rows, skipped ones included."""
        return len(self.listed)

    def manifest_blocks(self) -> Iterator[Block]:
        """As `list_rows`; what is listed already is not listed again."""
        return self.listed.blocks() if "listed" in vars(self) else self.list_rows()

    def manifest(self) -> Block:
        """Return one entry a row, as `list_rows`."""
        parts = list(self.listed.blocks())
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def facts(self) -> dict[str, Any]:
        """Small JSON that reading needs besides the manifest, known once the set is listed."""
        return {}

    def noted(self) -> dict[str, Any]:
        """Small JSON by which `news` finds out whether the set is as it was listed, known once it is."""
        return {}

    def news(self, noted: Mapping[str, Any]) -> str:
        """What has come to the set or gone since it was listed, "" for nothing; reads no images and no manifest.

        noted: as `noted` gave it then.
        """
        return ""

    def adopt(self, about: Mapping[str, Any], manifest: Manifest, facts: Mapping[str, Any]) -> None:
        """Be the set that was listed before.

        Args:
            about: its set.json.
            manifest: its own.
            facts: as `facts` gave them then.

        Raises:
            FileFault: the set has another number of rows now, so that their ids mean other images.
        """
        self.listed, self.class_names, self.listed_as = manifest, tuple(about["class_names"]), about["name"]
        self.recall(about, facts)
        if len(self) != len(manifest):
            raise changed(about["name"], f"it has {len(self):,} rows, and had {len(manifest):,}")

    def recall(self, about: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Take from an earlier listing what `read_sources` needs; arguments as of `adopt`."""
        self.size = about["size"]

    def read(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Return the images of `rows`, in that order.

        Raises:
            InputError: a row is not in 0 .. len - 1.
            FileFault: what was listed has changed, or the manifest is damaged.
        """
        sources, skipped, states = self.listed.places(checked_rows(rows, len(self)))
        if states and (place := first_changed(self.files(sources), states)) is not None:
            raise changed(self.listed_as, f"{sources[place]} was replaced, edited, or copied without its date")
        if not skipped:
            return self.read_sources(sources)
        good = [place for place in range(len(sources)) if place not in skipped]
        batch = Batch(np.zeros((len(sources), self.size, self.size, 3), dtype=np.uint8), dict(skipped))
        found = self.read_sources([sources[place] for place in good])
        batch.images[good] = found.images
        batch.skipped |= {good[place]: reason for place, reason in found.skipped.items()}
        return batch


def changed(name: str, how: str) -> FileFault:
    """What to say of a set that is not as it was listed."""
    return FileFault(
        f"image set {name}: it changed since it was listed ({how}); "
        f"delete images/{name}/manifest.parquet in the results and rerun"
    )


def checked_rows(rows: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
    """Return `rows` as int64 (n,).

    Raises:
        InputError: a row is outside of 0 .. length - 1, or not an integer.
    """
    ids = np.asarray(rows)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise InputError(f"rows must be a one-dimensional sequence of integers, got {ids.dtype} {ids.shape}")
    ids = ids.astype(np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= length):
        raise InputError(f"rows must be in 0 .. {length - 1}, got {ids.min()} .. {ids.max()}")
    return ids


def text_column(values: Sequence[str]) -> np.ndarray:
    """Return `values` as an array (n,) of str; one long value does not make all of them wide."""
    return np.array(values, dtype=object).reshape(len(values))


def number_of(source: str) -> int:
    """The number that a source ends in, as of sets whose rows are numbered: 17 of "CIFAR10/test/17"."""
    return int(source.rpartition("/")[2])
