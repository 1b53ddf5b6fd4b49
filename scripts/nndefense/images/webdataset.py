"""Samples in tars, as img2dataset writes them for webdataset."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from nndefense.core.errors import ConfigError, InputError
from nndefense.images.base import Batch, Block, ImageSet, changed, text_column
from nndefense.images.classes import Origin
from nndefense.images.decode import read_files
from nndefense.images.folder import Side, check_geometry, common_size
from nndefense.images.listed import Crop
from nndefense.images.sample_notes import Notes
from nndefense.images.states import digest
from nndefense.images.tags import read_tag_list
from nndefense.images.tar_listing import Part, list_tar, spooled, tar_name
from nndefense.images.tars import OpenTar, Stored, find_tars

OPEN_TARS = 128
WILD = re.compile(r"[*?\[{]")


@dataclass(frozen=True)
class Tar:
    """A tar of a set.

    Attributes:
        number: its place among them.
        path: from the folder that all of them share.
        size: bytes, when it was listed.
        rows: samples in it.
        date: when it was written, in whole seconds since 1970; 0 where that was not noted.
    """

    number: int
    path: str
    size: int
    rows: int
    date: int = 0


Place = tuple[Tar, int, int]


class WebDataset(ImageSet):
    """Images in tars, with captions and JSON beside them, as img2dataset writes them.

    A row is a sample: files of a tar whose names share what stands before the first dot, as webdataset groups them, in
    the order of the tars and of their files. Labels come from `label` alone; a sample without one may have a tag by its
    caption. What cannot be used keeps its row and is skipped when read: an image as of a folder, a sample with no image
    or several, one whose label or caption stands in a file that is missing or damaged, one with the key of an earlier
    one of its tar, and the place where a tar is cut or damaged; what comes before that is read.

    Attributes:
        threads: decoding threads; 0 takes the CPUs this process may use.
        folder: that all tars are in.
        tars: by what sources call them.

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
        self.pattern, self.label, self.caption, self.tag_list = pattern, label, caption, tags
        self.tars: dict[str, Tar] = {}
        if size is not None:
            self.size = size

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        notes = self._notes()
        if not notes.settled:
            len(self)  # Lists.
            notes = self._listed_notes
        return notes.classes()[0]

    @property
    def labels_by(self) -> Origin:
        return "ranks" if self._listed_notes.names else "list"

    @cached_property
    def size(self) -> int:
        return common_size(self, self.pattern)

    def _notes(self) -> Notes:
        return Notes(self.label, self.caption, None if self.tag_list is None else read_tag_list(self.tag_list))

    # -- listing

    def list_rows(self) -> Iterator[Block]:
        paths, notes = find_tars(self.pattern), self._notes()
        self._listed_notes = notes
        self.folder = Path(os.path.commonpath([path.parent for path in paths]))
        tars: dict[str, Tar] = {}
        parts = (self._list(path, notes, tars) for path in paths)
        usable, first = 0, b""
        for part in parts if notes.settled else spooled(parts):
            usable, first = usable + int(np.count_nonzero(part.skipped == b"")), first or next(iter(part.skipped), b"")
            names, labels = notes.classes()
            found = labels[part.classes]
            yield {
                "source": np.char.decode(part.sources, "utf-8").astype(object),
                "label": found[:, 0],
                "tag": text_column([*names, ""])[found[:, 1]],
                "skipped": np.char.decode(part.skipped, "utf-8").astype(object),
            }
        if not usable:
            cause = f", the first is skipped: {first.decode()}" if first else ""
            raise InputError(
                f"{self.pattern}: {len(paths)} tars hold no usable sample{cause}; allowed: some with an image"
            )
        notes.check()
        self.tars = tars

    def _list(self, path: Path, notes: Notes, tars: dict[str, Tar]) -> Part:
        """List one tar, and note it."""
        place = os.path.relpath(path, self.folder)
        name = tar_name(place)
        if name in tars:
            raise InputError(f"{self.pattern}: two tars are called {name!r}; allowed: names of UTF-8")
        part, size, date = list_tar(path, name, notes)
        tars[name] = self.tars[name] = Tar(len(tars), place, size, len(part.sources), date)
        return part

    def facts(self) -> dict[str, Any]:
        """The folder of all tars, as seen from what stands before the pattern's first wildcard, and what each was."""
        start, folder = _fixed(self.pattern), str(self.folder)
        if start:
            folder = os.path.relpath(folder, start)
        return {"folder": folder, "tars": [[tar.path, tar.size, tar.rows, tar.date] for tar in self.tars.values()]}

    def noted(self) -> dict[str, Any]:
        """How many tars there are, and what they are called."""
        return {"tars": [len(self.tars), digest(self.tars)]}

    def news(self, noted: Mapping[str, Any]) -> str:
        paths = find_tars(self.pattern)
        folder = os.path.commonpath([path.parent for path in paths])
        names = [tar_name(os.path.relpath(path, folder)) for path in paths]
        count, before = noted["tars"]
        return "" if digest(names) == before else f"its pattern names {len(names):,} tars, and named {count:,} others"

    def recall(self, about: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        super().recall(about, facts)
        self.folder = Path(_fixed(self.pattern), facts["folder"])
        self.tars = {tar_name(one[0]): Tar(number, *one) for number, one in enumerate(facts["tars"])}

    # -- reading

    def read_sources(self, sources: Sequence[str]) -> Batch:
        found = [self._place(source) for source in sources]
        batch = Batch(np.zeros((len(found), self.size, self.size, 3), dtype=np.uint8))
        for chosen in _by_tars(found):
            with ExitStack() as stack:
                stored = self._stored([found[place] for place in chosen], stack)
                part = read_files(stored, self.size, self.resize, self.crop, self.exact, self.threads)
            batch.images[chosen] = part.images
            batch.skipped |= {chosen[place]: reason for place, reason in part.skipped.items()}
        return batch

    def read_bytes(self, source: str) -> bytes:
        """Bytes of an image. Raises OSError or Undecodable."""
        with ExitStack() as stack:
            return self._stored([self._place(source)], stack)[0].read_bytes()

    def _place(self, source: str) -> Place:
        """Tar, offset and length of an image."""
        member, _, span = source.rpartition("@")
        offset, _, size = span.partition("+")
        end = member.find("/")
        while member[:end] not in self.tars:
            end = member.index("/", end + 1)
        return self.tars[member[:end]], int(offset), int(size)

    def _stored(self, places: Sequence[Place], stack: ExitStack) -> list[Stored]:
        """What reads images, from tars that are open until `stack` ends."""
        handles = {}
        for tar in dict.fromkeys(tar for tar, _, _ in places):
            handles[tar] = handle = OpenTar(self.folder / tar.path, stack)
            if self.listed_as and handle.size not in (None, tar.size):
                raise changed(self.listed_as, f"{tar.path} has {handle.size:,} bytes, and had {tar.size:,}")
            if self.listed_as and handle.size is not None and tar.date not in (0, handle.date):
                raise changed(self.listed_as, f"{tar.path} was replaced, edited, or copied without its date")
        return [Stored(handles[tar], offset, size) for tar, offset, size in places]


def _by_tars(places: Sequence[Place]) -> Iterator[list[int]]:
    """Positions in the order in which images lie in tars, cut where many tars would be open at once."""
    order = sorted(range(len(places)), key=lambda position: (places[position][0].number, places[position][1]))
    tars = list(dict.fromkeys(places[position][0].number for position in order))
    for start in range(0, len(tars), OPEN_TARS):
        together = set(tars[start : start + OPEN_TARS])
        yield [position for position in order if places[position][0].number in together]


def _fixed(pattern: str) -> str:
    """The folders of a pattern before its first wildcard."""
    parts = pattern.split("/")[:-1]
    wild = next((place for place, part in enumerate(parts) if WILD.search(part)), len(parts))
    return "/".join(parts[:wild]) or ("/" if pattern.startswith("/") else "")
