"""Atomic writes and checked reads: no reader ever takes a partial, damaged or another's file for its own.

What else carries a seal stands in `nndefense.core.arrays` and `nndefense.core.tables`.
"""

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nndefense.core import whose
from nndefense.core.errors import FileFault
from nndefense.core.seals import READERS, RECEIPTS, canonical, fault, is_whole, make_seal


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced to disk and renamed to `path`.

    After an error (also a full disk) neither the temporary file nor a file under the final name remains; what a
    killed process left of earlier attempts is removed at the next one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        stale.unlink(missing_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise FileFault(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` atomically, and a receipt of it where it belongs to a run (`nndefense.core.seals`)."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)
    if (receipt := _receipt_of(path)) is not None:
        about = {"bytes": len(content), "of": whose.place_of(path), "sha256": hashlib.sha256(content).hexdigest()}
        write_json(receipt, about)


def write_text(path: str | Path, content: str) -> None:
    """Write text as UTF-8, as `write_bytes` does."""
    write_bytes(path, content.encode())


def read_bytes(path: str | Path) -> bytes:
    """Content that `write_bytes` wrote. FileFault: unreadable, damaged, or another file's."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror or error})") from error
    if (receipt := _receipt_of(path)) is not None:
        about = read_json(receipt)
        if about.get("sha256") != hashlib.sha256(content).hexdigest():
            raise fault(path, f"has another checksum than {receipt} records")
    return content


def _receipt_of(path: str | Path) -> Path | None:
    """Where the receipt of a file lies; None where the process works for no run, or the file lies outside of it."""
    place = whose.place_of(path)
    if place is None:
        return None
    return Path(os.path.abspath(path)[: -len(place)], RECEIPTS, f"{place}.json")


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with sorted keys and, as `seal`, whose it is; atomically."""
    content = canonical(value).encode()
    seal = make_seal(path, hashlib.sha256(content).hexdigest(), len(content), {})
    with atomic(path) as temporary:
        temporary.write_text(_as_json({**value, "seal": seal}), encoding="utf-8")


def write_ledger() -> None:
    """Leave the ledger of what this process made (`nndefense.core.whose`); nothing where it made nothing of a run."""
    if (found := whose.ledger()) is not None:
        write_json(*found)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object without its seal; FileFault if it is absent, damaged, or another file's."""
    try:
        content = Path(path).read_bytes()
        value = json.loads(content)
    except (OSError, ValueError) as error:
        raise fault(path, f"is not readable JSON ({error})") from error
    seal: Any = value.pop("seal", None) if isinstance(value, dict) else None
    whole = is_whole(seal) and content == _as_json({**value, "seal": seal}).encode()
    if not whole or hashlib.sha256(canonical(value).encode()).hexdigest() != seal["sha256"]:
        raise fault(path, "is damaged, was changed, or was not written by this workflow")
    whose.accept(path, seal, READERS)
    return value


def _as_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def read_csv(path: str | Path, columns: Sequence[str] | None, what: str) -> list[dict[str, str]]:
    """Lines of a CSV file as text by column.

    Args:
        path: the file.
        columns: exactly those that it must have; None: any.
        what: it holds, for messages, e.g. "result rows".

    Raises:
        FileFault: other columns, a line of another length, or a file that cannot be read.
    """
    try:
        header, *lines = csv.reader(io.StringIO(read_bytes(path).decode(), newline=""), strict=True)
        if columns is not None and tuple(header) != tuple(columns):
            raise ValueError(f"has columns {', '.join(header)}, expected {', '.join(columns)}")
        return [dict(zip(header, line, strict=True)) for line in lines]
    except (ValueError, csv.Error) as error:
        raise fault(path, f"cannot be read as {what} ({error})") from error


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
