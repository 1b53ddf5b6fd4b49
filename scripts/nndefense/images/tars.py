"""Tars of samples as webdataset and img2dataset write them: where members lie, which belong together, and their bytes.

Samples are grouped as webdataset does. Its readers stream whole tars; to read some rows, and none while listing, the
places of members are taken from the headers, over which tarfile leaps from one to the next.
"""

import glob
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from nndefense.core.errors import ConfigError, InputError
from nndefense.images.decode import Undecodable

EXTRA = "the extra `webdataset` (pip install -e '.[webdataset]')"
MAX_TARS = 1_000_000
MAX_TEXT = 1 << 20  # of a caption or of an image's JSON
CUT, DAMAGED, OTHER = "truncated tar", "damaged tar", "not a tar"
RANGE = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)")
# Key and suffix, as webdataset splits paths.
NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
# What webdataset keeps in tars beside samples.
META = re.compile(r"__[^/]*__($|/)")


@dataclass(frozen=True)
class Member:
    """A file in a tar: its name there, its first byte and its length."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Sample:
    """Files that belong together.

    Attributes:
        key: what their names share; empty where a tar is damaged between samples.
        offset: of the first of them, or of the damage.
        files: by what follows the key and a dot, in lower case: "jpg", "json".
        fault: why the sample is skipped; empty if it is not.
    """

    key: str
    offset: int
    files: Mapping[str, Member] = field(default_factory=dict)
    fault: str = ""


# -- which tars


def find_tars(pattern: str) -> list[Path]:
    """Tars that a pattern names, each once: braces in their order, and what `*`, `?` and `[...]` match in each sorted.

    Args:
        pattern: a path such as `laion/{00000..00099}.tar` or `laion/*.tar`.

    Raises:
        ConfigError: braces that do not close or stand for more than a million paths, or webdataset is not installed.
        InputError: a tar that braces name is missing, or a pattern matches none.
    """
    found: dict[Path, None] = {}
    for path in _expand(pattern):
        if not glob.has_magic(path):
            if not Path(path).is_file():
                raise InputError(f"{path} is missing; allowed: a pattern of tars that are there, such as FOLDER/*.tar")
            found[Path(path)] = None
        else:
            found |= dict.fromkeys(Path(one) for one in sorted(glob.glob(path, recursive=True)) if os.path.isfile(one))
    if not found:
        raise InputError(f"{pattern} matches no tar; allowed: such as FOLDER/*.tar or FOLDER/{{00000..00099}}.tar")
    return list(found)


def _expand(pattern: str) -> list[str]:
    try:
        # Comes with webdataset, whose patterns these are.
        from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]  # not in its types
    except ImportError as error:
        raise ConfigError(f"image set webdataset: needs webdataset; install {EXTRA}") from error
    # Its parts are expanded before the first path comes.
    ranges = [abs(int(last) - int(first)) for first, last in RANGE.findall(pattern)]
    try:
        paths = [] if max(ranges, default=0) > MAX_TARS else list(islice(braceexpand(pattern), MAX_TARS + 1))
    except UnbalancedBracesError:
        raise ConfigError(f"pattern {pattern!r}: braces do not close; allowed: such as {{00000..00099}}.tar") from None
    if not 0 < len(paths) <= MAX_TARS:
        raise ConfigError(f"pattern {pattern!r} names too many tars; allowed: at most {MAX_TARS:,}")
    return paths


# -- what is in them


class _Members:
    """Files of a tar, in order.

    Attributes:
        fault: after the last one, how the tar is damaged; empty if it is whole.
        end: where it ends or is damaged.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self.handle, self.fault, self.end = handle, "", 0
        self.size = os.fstat(handle.fileno()).st_size

    def __iter__(self) -> Iterator[Member]:
        try:
            with tarfile.open(fileobj=self.handle, mode="r:") as tar:
                while info := tar.next():
                    # It would keep all members in memory.
                    tar.members.clear()  # type: ignore[attr-defined]  # not in its types
                    self.end = tar.offset
                    if info.isreg() and not info.issparse() and not META.match(info.name):
                        yield Member(_clean(info.name), info.offset_data, info.size)
                self.end = tar.offset
        except Exception:  # parsers of hostile bytes raise anything
            self.fault = CUT if self.end >= self.size else DAMAGED if self.end else OTHER
            return
        # tarfile ends without a word at a header that it cannot read, and where the two zero blocks are missing.
        self.handle.seek(self.end)
        block = self.handle.read(tarfile.BLOCKSIZE)
        self.fault = CUT if len(block) < tarfile.BLOCKSIZE else DAMAGED if any(block) else ""


def read_samples(handle: BinaryIO) -> Iterator[Sample]:
    """Samples of a tar in order, from its headers alone: consecutive files of one key, as webdataset groups them.

    A tar that is cut or damaged yields those before the damage. One that it cuts into has a fault, and where the damage
    lies between samples, it stands for a sample without a key, so that every damaged tar is counted. A key that comes
    again later, or whose sample has a file twice, is a fault of that sample.

    Args:
        handle: of the tar, opened for reading; may be read from meanwhile.
    """
    members, seen, cut = _Members(handle), set(), False
    for key, group in groupby(_keyed(members), key=itemgetter(0)):
        found: dict[str, Member] = {}
        repeated = key in seen
        for _, suffix, member in group:
            repeated |= suffix in found
            found.setdefault(suffix, member)
        missing = any(one.offset + one.size > members.size for one in found.values())
        fault = CUT if missing else "duplicate key" if repeated else ""
        seen.add(key)
        cut |= missing
        yield Sample(key, min(one.offset for one in found.values()), found, fault)
    if members.fault and not cut:
        yield Sample("", members.end, fault=members.fault)


def _keyed(members: Iterable[Member]) -> Iterator[tuple[str, str, Member]]:
    """Key and suffix of files; those whose name has no dot, or nothing before it, belong to no sample."""
    for member in members:
        if parts := NAME.fullmatch(member.name):
            yield parts[1], parts[2].lower(), member


def _clean(name: str) -> str:
    """A name that can be stored as UTF-8, whatever its bytes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_text(handle: BinaryIO, sample: Sample, suffix: str) -> str:
    """Text of a small file of a sample.

    Raises:
        Undecodable: "missing json", "damaged json" (too large, or not UTF-8), and so on.
    """
    member = sample.files.get(suffix)
    if member is None:
        raise Undecodable(f"missing {suffix}")
    handle.seek(member.offset)
    try:
        return handle.read(member.size).decode("utf-8-sig") if member.size <= MAX_TEXT else _damaged(suffix)
    except UnicodeDecodeError:
        return _damaged(suffix)


def _damaged(suffix: str) -> str:
    raise Undecodable(f"damaged {suffix}") from None


# -- their bytes


class OpenTar:
    """A tar that is open while its members are read; one that cannot be opened says so when they are.

    Attributes:
        size: bytes; None where it cannot be opened.
        date: when it was written, in whole seconds since 1970.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        """stack: closes it."""
        self.error: OSError | None = None
        self.size: int | None = None
        self.date = 0
        try:
            self.number = os.open(path, os.O_RDONLY)
        except OSError as error:
            self.error = error
        else:
            stack.callback(os.close, self.number)
            about = os.fstat(self.number)
            self.size, self.date = about.st_size, int(about.st_mtime)


@dataclass(frozen=True)
class Stored:
    """Bytes in an open tar, read as those of a path; several threads may."""

    tar: OpenTar
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """Raises OSError as a path does, and Undecodable for a tar that is shorter than it was."""
        if self.tar.error:
            raise self.tar.error
        data = os.pread(self.tar.number, self.size, self.offset)
        if len(data) < self.size:
            raise Undecodable(CUT)
        return data
