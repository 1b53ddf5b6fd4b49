"""Samples in tars, as img2dataset writes them for webdataset."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError, InputError
from nndefense.images.base import Batch, ImageSet, checked_rows, text_column
from nndefense.images.decode import Undecodable, decode, read_files
from nndefense.images.folder import SUFFIXES, Side, check_geometry
from nndefense.images.listed import Crop
from nndefense.images.sample_notes import Notes
from nndefense.images.tags import NO_CLASS, read_tag_list
from nndefense.images.tars import Member, OpenTar, Sample, Stored, find_tars, read_samples

MAX_BYTES = 1 << 28  # of a stored image; one of `decode.MAX_PIXELS` takes less, unless it is not compressed
OPEN_TARS = 128


@dataclass(frozen=True)
class Part:
    """The samples of one tar.

    Attributes:
        sources: (n,) bytes, UTF-8: the tar and the image in it, its offset and its length in bytes.
        columns: (n, 4) int64: offset, length, label and class of the tag, as `Notes.read` numbers these.
        faults: row -> why it is skipped.
    """

    sources: np.ndarray
    columns: np.ndarray
    faults: dict[int, str]


class WebDataset(ImageSet):
    """Images in tars, with captions and JSON beside them, as img2dataset writes them.

    A row is a sample: files of a tar whose names share what stands before the first dot, as webdataset groups them, in
    the order of the tars and of their files. Labels come from `label` alone; a sample without one may have a tag by its
    caption. What cannot be used keeps its row and is skipped when read: an image as of a folder, a sample with no image
    or several, one whose label or caption stands in a file that is missing or damaged, one with the key of an earlier
    one of its tar, and the place where a tar is cut or damaged; what comes before that is read.

    Attributes:
        threads: decoding threads; 0 takes the CPUs this process may use.
        paths: of the tars.
        faults: row -> why it is skipped, as far as that is known without reading images.

    Raises:
        ConfigError: an option out of range, or without the one that it needs.
        InputError: no tar, image, tag list, label, caption or class is as the options say.
    """

    threads: int = 0

    def __init__(
        self,
        pattern: Annotated[
            str,
            Field(
                min_length=1,
                description="The tars, as `laion/*.tar` or `laion/{00000..00099}.tar`, below `data` unless it is "
                "absolute.",
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
        crop: Crop = "center",
        label: Annotated[
            str | None,
            Field(
                description="Where labels stand, integers or names of classes: a key of the samples' JSON, or `cls` "
                "for their files .cls (null = nowhere)."
            ),
        ] = None,
        caption: Annotated[
            str | None,
            Field(
                description="Where text stands whose words give tags: `txt` for the samples' files .txt, or a key of "
                "their JSON that holds text or a list of tags (null = nowhere). What names several classes gives none."
            ),
        ] = None,
        tags: Annotated[
            str | None,
            Field(
                description="The classes and their words: `imagenet`, or a file below `data` unless it is absolute, "
                'JSON as `{"tench": ["Tinca tinca"], "goldfish": []}` in the order of labels (null = the classes are '
                "those of `label`, names sorted)."
            ),
        ] = None,
    ):
        check_geometry("webdataset", size, resize, crop)
        if caption is not None and tags is None:
            raise ConfigError(f"webdataset caption {caption!r} names classes by words; allowed: with `tags` only")
        if tags is not None and caption is None and label is None:
            raise ConfigError(f"webdataset tags {tags!r} are of no use alone; allowed: with `caption` or `label`")
        self.resize, self.crop, self.exact = resize, crop, size is None
        self.paths = find_tars(pattern)
        notes = Notes(label, caption, None if tags is None else read_tag_list(tags))
        common = os.path.commonpath([path.parent for path in self.paths])
        parts = [list_tar(path, os.path.relpath(path, common), notes) for path in self.paths]
        self._take(parts, pattern)
        self.class_names, labels = notes.classes()
        self.labels, self.tags = labels[self.labels], labels[self.tags]
        self.size = self._side() if size is None else size

    def _take(self, parts: Sequence[Part], pattern: str) -> None:
        self.sources = [part.sources for part in parts]
        self.starts = np.cumsum([0, *(len(part.sources) for part in parts)])
        columns = np.concatenate([part.columns for part in parts])
        self.offsets, self.sizes, self.labels, self.tags = columns.T
        self.faults: dict[int, str] = {}
        for start, part in zip(self.starts.tolist(), parts, strict=False):
            self.faults |= {start + row: reason for row, reason in part.faults.items()}
        if len(self.faults) == len(self):
            cause = f", the first is skipped: {self.faults[0]}" if self.faults else ""
            raise InputError(f"{pattern}: {len(parts)} tars hold no usable sample{cause}; allowed: some with an image")

    def __len__(self) -> int:
        return int(self.starts[-1])

    def manifest(self) -> dict[str, np.ndarray]:
        names = text_column([*self.class_names, ""])
        return {
            "source": np.concatenate([np.char.decode(sources, "utf-8") for sources in self.sources]),
            "label": self.labels.copy(),
            "tag": names[self.tags],
        }

    def read(self, rows: Sequence[int]) -> Batch:
        ids = checked_rows(rows, len(self))
        batch = Batch(np.zeros((len(ids), self.size, self.size, 3), dtype=np.uint8))
        batch.skipped = {place: self.faults[row] for place, row in enumerate(ids.tolist()) if row in self.faults}
        places = np.array([place for place in range(len(ids)) if place not in batch.skipped], dtype=np.int64)
        for chosen in self._by_tars(ids, places):
            with ExitStack() as stack:
                stored = self._stored(ids[chosen], stack)
                part = read_files(stored, self.size, self.resize, self.crop, self.exact, self.threads)
            batch.images[chosen] = part.images
            batch.skipped |= {int(chosen[place]): reason for place, reason in part.skipped.items()}
        return batch

    def _by_tars(self, ids: np.ndarray, places: np.ndarray) -> Iterator[np.ndarray]:
        """The places of rows in the order in which these lie in tars, cut where many tars would be open at once."""
        places = places[np.argsort(ids[places], kind="stable")]
        tars = self._tars(ids[places])
        numbers = np.cumsum(np.diff(tars, prepend=tars[:1]) != 0)
        for first in range(0, numbers[-1] + 1 if len(numbers) else 0, OPEN_TARS):
            yield places[(numbers >= first) & (numbers < first + OPEN_TARS)]

    def _tars(self, ids: np.ndarray) -> np.ndarray:
        """Numbers of the tars that rows lie in."""
        return np.searchsorted(self.starts, ids, side="right") - 1

    def _stored(self, ids: np.ndarray, stack: ExitStack) -> list[Stored]:
        """What reads the images of rows, from tars that are open until `stack` ends."""
        tars = self._tars(ids).tolist()
        handles = {tar: OpenTar(self.paths[tar], stack) for tar in dict.fromkeys(tars)}
        places = zip(tars, self.offsets[ids].tolist(), self.sizes[ids].tolist(), strict=True)
        return [Stored(handles[tar], offset, size) for tar, offset, size in places]

    def _side(self) -> int:
        """Side of the first readable image."""
        for row in range(len(self)):
            if row in self.faults:
                continue
            try:
                with ExitStack() as stack:
                    width, height = decode(self._stored(np.array([row]), stack)[0].read_bytes()).size
            except (OSError, Undecodable):
                continue
            if width != height:
                source = self.manifest()["source"][row]
                raise ConfigError(f"{source} is {width} x {height}: images that are not square need a size")
            return width
        raise InputError(f"{self.paths[0].parent} has tars of {len(self)} samples, and no image can be decoded")


def list_tar(path: Path, name: str, notes: Notes) -> Part:
    """List a tar: reads its headers, and of its files those that `notes` needs.

    Args:
        path: of the tar.
        name: what sources call it.
        notes: reads labels and tags.

    Raises:
        InputError: the tar cannot be opened, or a label is no class.
    """
    sources, columns, faults = [], [], {}
    name = name.encode("utf-8", "backslashreplace").decode()
    try:
        with open(path, "rb") as handle:
            for row, sample in enumerate(read_samples(handle)):
                image, classes = Member(sample.key, sample.offset, 0), (NO_CLASS, NO_CLASS)
                try:
                    image = _image(sample)
                    classes = notes.read(handle, sample, f"{name}/{sample.key}")
                except Undecodable as reason:
                    faults[row] = str(reason)
                sources.append(f"{name}/{image.name}@{image.offset}+{image.size}".encode())
                columns.append((image.offset, image.size, *classes))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); allowed: tars that can") from error
    return Part(np.array(sources, dtype=np.bytes_), np.array(columns, dtype=np.int64).reshape(-1, 4), faults)


def _image(sample: Sample) -> Member:
    """The image of a sample. Raises Undecodable if it is to be skipped."""
    if sample.fault:
        raise Undecodable(sample.fault)
    images = {f".{suffix}": one for suffix, one in sample.files.items() if f".{suffix}".endswith(SUFFIXES)}
    # Beside `a.jpg`, `a.mask.png` is no second image.
    images = [one for suffix, one in images.items() if suffix in SUFFIXES] or list(images.values())
    if len(images) != 1:
        raise Undecodable("several images" if images else "no image")
    if images[0].size > MAX_BYTES:
        raise Undecodable("too large")
    return images[0]
