"""Whose a file is: its place in a run, the job that made it, and what it was made of.

Files of a run look like their siblings: a shard of another layer, a list of an earlier configuration, an attack on the
network of another seed have the same shape. So each carries its place below the folder of results, and of every file
that its job had read by then a digest of the content; and each job leaves a ledger of what it made, which the next run
of that job replaces. Who opens a file compares the place with where it lies, its digest with the ledger, and what it
was made of with the files that lie there now. What is gone, as temporary files are, compares with nothing.

What a process reads and writes is noted here as it happens, so that no script has to say it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nndefense.core.errors import FileFault

SHOWN = 16  # digits of a digest that others note down
VARIABLE = "NNDEFENSE_RESULTS"
LEDGERS = "seals/jobs/"

Seal = Mapping[str, Any]


class Readers(NamedTuple):
    """How other files are looked at; both give None where there is nothing whole.

    Attributes:
        seal: path -> its seal, not compared with its content.
        ledger: path -> digests by place.
    """

    seal: Callable[[str], Seal | None]
    ledger: Callable[[str], Mapping[str, str] | None]


class _Process:
    """What this process works for, what it has read, and what it has written."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.compare = True
        self.aside = False
        self.read: dict[str, str] = {}
        self.written: dict[str, str] = {}
        self.accepted: set[tuple[str, str]] = set()
        self.looked_at: dict[tuple, Any] = {}


_process = _Process()


def begin(root: str | Path | None, *, compare: bool = True) -> None:
    """Say which folder of results this process reads and writes, and forget what it has read.

    Args:
        root: None: files are written without a place, and those without one are read.
        compare: False: `accept` accepts every file.
    """
    global _process
    _process = _Process()
    _process.compare = compare
    _process.root = None if root is None else os.path.abspath(root)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Read and write what a job leaves for itself, to go on when it is stopped: no part of results."""
    _process.aside = True
    try:
        yield
    finally:
        _process.aside = False


def place_of(path: str | Path) -> str | None:
    """Place of a path below the folder of results, with slashes; None without such a folder, or outside of it."""
    full = os.path.abspath(path)
    if _process.root is None or not full.startswith(_process.root + os.sep):
        return None
    return full[len(_process.root) + 1 :].replace(os.sep, "/")


def identity(path: str | Path, sha256: str) -> dict[str, Any]:
    """What a file that is written now says of itself; it is noted as written.

    Returns:
        `place`, `job` (place of the first file that the process wrote), `made_of` (digests of all it read, by place).
    """
    place = place_of(path)
    if place is None or place.startswith(LEDGERS) or _process.aside:
        return {"job": None, "made_of": {}, "place": place}
    _process.written[place] = sha256[:SHOWN]
    made_of = {name: digest for name, digest in _process.read.items() if name != place}
    return {"job": next(iter(_process.written)), "made_of": made_of, "place": place}


def ledger() -> tuple[Path, dict[str, str]] | None:
    """Where the ledger of this process belongs, and what it says; None where nothing of a run was written."""
    if _process.root is None or not _process.written:
        return None
    return Path(_process.root, _ledger_name(next(iter(_process.written)))), dict(_process.written)


def accept(path: str | Path, seal: Seal, readers: Readers) -> None:
    """Compare a file's seal with where it lies, what its job made, and what it was made of; note that it was read.

    Args:
        path: of the file.
        seal: `place`, `job`, `made_of`, `sha256` of the content.
        readers: of other files.

    Raises:
        FileFault: names the file that is wrong, which may be one that this one was made of.
    """
    full, place = os.path.abspath(path), seal.get("place")
    if not _process.compare or (full, seal["sha256"]) in _process.accepted:
        return
    if place is None:
        if place_of(path) is not None:
            raise FileFault(f"{path}: does not say whose it is; delete it and rerun")
        return
    if found := misfit(path, seal, readers):
        raise found
    _process.accepted.add((full, seal["sha256"]))
    if _process.root is not None and not place.startswith(LEDGERS) and not _process.aside:
        name = place_of(full) or Path(os.path.relpath(full, _process.root)).as_posix()
        _process.read[name] = seal["sha256"][:SHOWN]


def misfit(path: str | Path, seal: Seal, readers: Readers) -> FileFault | None:
    """The fault of a file that does not belong where it lies, or of the one that it does not agree with; else None."""
    if found := _out_of_place(path, seal, readers):
        return found
    for name in _changed(path, seal, readers):
        parent = _beside(path, seal, name)
        other = readers.seal(parent)
        if other is not None and other.get("place"):
            if found := _out_of_place(parent, other, readers):
                return found
            for cause in _changed(parent, other, readers):
                return _stale(parent, cause)
        return _stale(path, name)
    return None


def _stale(path: str | Path, name: str) -> FileFault:
    return FileFault(f"{path}: was made of another {name} than is there; delete it and rerun")


def _out_of_place(path: str | Path, seal: Seal, readers: Readers) -> FileFault | None:
    place = seal["place"]
    if not os.path.abspath(path).replace(os.sep, "/").endswith("/" + place):
        return FileFault(f"{path}: is {place}, put into another's place; delete it and rerun")
    made = _look(_beside(path, seal, _ledger_name(seal["job"])), readers.ledger) if seal["job"] else None
    if made is not None and made.get(place, seal["sha256"][:SHOWN]) != seal["sha256"][:SHOWN]:
        return FileFault(
            f"{path}: is not the one that was made last, but of an earlier or another run; delete it and rerun"
        )
    return None


def _changed(path: str | Path, seal: Seal, readers: Readers) -> Iterator[str]:
    """Places of what a file was made of, where another file lies now."""
    for name, digest in seal["made_of"].items():
        found = _look(_beside(path, seal, name), readers.seal)
        if found is not None and found["sha256"][:SHOWN] != digest:
            yield name


def _ledger_name(job: str) -> str:
    return f"{LEDGERS}{job}.json"


def _beside(path: str | Path, seal: Seal, name: str) -> str:
    """Path of another place of the run that a file belongs to, which may have been moved since."""
    given = str(path) if str(path).endswith(seal["place"]) else os.path.abspath(path)
    found = given[: len(given) - len(seal["place"])] + name
    return os.path.normpath(found) if name.startswith("..") else found


def _look(path: str, reader: Callable[[str], Any]) -> Any:
    """What a reader gives of a file, remembered until the file changes; None where there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    key = (path, reader, facts.st_ino, facts.st_size, facts.st_mtime_ns)
    if key not in _process.looked_at:
        _process.looked_at[key] = reader(path)
    return _process.looked_at[key]
