"""Whether files are those that were listed: by size and date, which cost no reading."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

GONE = "gone"


def state_of(path: str | Path) -> str:
    """Size and date of a file, which change when it is replaced or edited; GONE where there is none.

    In whole seconds: archives and other file systems keep no parts of them.
    """
    try:
        about = os.stat(path)
    except OSError:
        return GONE
    return f"{about.st_size}-{int(about.st_mtime)}"


def first_changed(paths: Iterable[str | Path], states: Sequence[str]) -> int | None:
    """Place of the first file that is there and has another state than it had when it was listed; None: none.

    Args:
        paths: of files.
        states: as `state_of` gave them.
    """
    for place, (path, before) in enumerate(zip(paths, states, strict=True)):
        # One that went is skipped when it is read.
        if state_of(path) not in (GONE, before):
            return place
    return None


def digest(names: Iterable[str]) -> str:
    """A short digest of names, in any order."""
    content = "\0".join(sorted(names)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(content).hexdigest()[:16]
