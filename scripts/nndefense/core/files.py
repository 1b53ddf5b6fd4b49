"""Atomic writes and checked reads: no reader ever takes a partial or damaged file for a whole one.

Arrays (`.npy`) and FAISS indexes carry a trailer behind their own bytes: one JSON line with a SHA-256 of
all that stands before it and a few facts (`about`) that tell what the file belongs to. NumPy, memory maps and
FAISS read the file as usual and ignore the trailer. `.npz` (CRC per member), `.parquet` (page checksums) and
JSON files detect damage by themselves.
"""

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.errors import FileFault

MARK = b"\n#nndefense "
TRAILER_USUAL, TRAILER_LIMIT = 1 << 16, 16 << 20
FULL_CHECK_BYTES = 1 << 30


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
    """Write `content` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; FileFault if it is damaged or absent."""
    try:
        return json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise fault(path, f"is not readable JSON ({error})") from error


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
        with open(path, encoding="utf-8", newline="") as handle:
            header, *lines = csv.reader(handle, strict=True)
        if columns is not None and tuple(header) != tuple(columns):
            raise ValueError(f"has columns {', '.join(header)}, expected {', '.join(columns)}")
        return [dict(zip(header, line, strict=True)) for line in lines]
    except (OSError, ValueError, csv.Error) as error:
        raise fault(path, f"cannot be read as {what} ({error})") from error


def fault(path: str | Path, problem: str) -> FileFault:
    """The one-line error of a bad artifact, with its remedy."""
    return FileFault(f"{path}: {problem}; delete it and rerun")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# -- arrays and indexes with a trailer ---------------------------------------------------------------------


def write_sealed(path: str | Path, content: bytes | memoryview, about: Mapping[str, Any]) -> None:
    """Write `content` and its trailer atomically. `about`: small JSON facts, e.g. the PCA it was made with."""
    seal = {"about": dict(about), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        handle.write(content)
        handle.write(MARK + json.dumps(seal, sort_keys=True).encode() + b"\n")


def read_seal(path: str | Path) -> dict[str, Any]:
    """The trailer of a sealed file, after a check of the file's size only."""
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            # Most are short; a job may open thousands.
            for length in (TRAILER_USUAL, TRAILER_LIMIT):
                handle.seek(max(0, size - length))
                tail = handle.read()
                if MARK in tail:
                    break
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror})") from error
    start = tail.rfind(MARK)
    try:
        seal = json.loads(tail[start + len(MARK) :]) if start >= 0 else None
    except ValueError:
        seal = None
    whole = isinstance(seal, dict) and {"about", "bytes", "sha256"} <= set(seal)
    if not whole or size - len(tail) + start != seal["bytes"]:
        raise fault(path, "is truncated or was not written by this workflow")
    return seal


def check_seal(path: str | Path) -> dict[str, Any]:
    """Verify size and SHA-256 of a sealed file; returns its `about`. FileFault if a single bit differs."""
    seal = read_seal(path)
    digest = hashlib.sha256()
    remaining = seal["bytes"]
    with open(path, "rb") as handle:
        while remaining and (block := handle.read(min(remaining, 1 << 22))):
            digest.update(block)
            remaining -= len(block)
    if digest.hexdigest() != seal["sha256"]:
        raise fault(path, "has a wrong checksum (damaged on disk)")
    return seal["about"]


def read_sealed(path: str | Path) -> tuple[bytes, dict[str, Any]]:
    """Content and `about` of a sealed file, verified before use."""
    about = check_seal(path)
    size = read_seal(path)["bytes"]
    with open(path, "rb") as handle:
        return handle.read(size), about


def write_array(path: str | Path, array: np.ndarray, about: Mapping[str, Any] | None = None) -> None:
    """Write an array as a sealed `.npy`; NaN and infinities are refused."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FileFault(f"{path}: refuses NaN or infinite values")
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_sealed(path, buffer.getbuffer(), about or {})


@contextlib.contextmanager
def stream_array(
    path: str | Path, shape: Sequence[int], dtype: np.dtype | type, about: Mapping[str, Any] | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a sealed `.npy` block by block: yields what appends rows, holds none of them, and seals at the end.

    Raises:
        FileFault: NaN or infinite values, or blocks that do not fill the shape.
    """
    header, dtype = io.BytesIO(), np.dtype(dtype)
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(map(int, shape))}
    np.lib.format.write_array_header_1_0(header, facts)
    digest, rows = hashlib.sha256(header.getvalue()), 0
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        handle.write(header.getvalue())

        def append(block: np.ndarray) -> None:
            nonlocal rows
            content = np.ascontiguousarray(block, dtype=dtype)
            if content.shape[1:] != tuple(shape[1:]):
                raise FileFault(f"{path}: a block has shape {content.shape}, expected rows of {tuple(shape[1:])}")
            if dtype.kind == "f" and not np.isfinite(content).all():
                raise FileFault(f"{path}: refuses NaN or infinite values")
            rows += len(content)
            handle.write(content.data)
            digest.update(content.data)

        yield append
        if rows != shape[0]:
            raise FileFault(f"{path}: {rows} of {shape[0]} rows were written")
        seal = {"about": dict(about or {}), "bytes": handle.tell(), "sha256": digest.hexdigest()}
        handle.write(MARK + json.dumps(seal, sort_keys=True).encode() + b"\n")


def read_array(
    path: str | Path, *, columns: int | None = None, mapped: bool = False
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a sealed `.npy` and its `about`; FileFault on damage or on a wrong number of `columns`.

    With `mapped`, the array is a read-only memory map. Files up to 1 GiB are verified against their checksum at
    every open, larger ones by size only (`scripts/verify.py` checks them in full).
    """
    large = mapped and read_seal(path)["bytes"] > FULL_CHECK_BYTES
    about = read_seal(path)["about"] if large else check_seal(path)
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except ValueError as error:
        raise fault(path, f"is not a plain array ({error})") from error
    if columns is not None and (array.ndim != 2 or array.shape[1] != columns):
        raise fault(path, f"has shape {array.shape}, expected {columns} columns")
    return array, about


# -- several arrays in one file ----------------------------------------------------------------------------


def write_arrays(path: str | Path, **arrays: np.ndarray) -> None:
    """Write named arrays as an uncompressed `.npz`; equal content gives equal bytes."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def read_arrays(path: str | Path, *names: str) -> dict[str, np.ndarray]:
    """Read the named arrays (all without names) of an `.npz`; its CRC catches every flipped bit."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in (names or archive.files)}
    except KeyError as error:
        raise fault(path, f"lacks {error.args[0]}") from error
    except Exception as error:
        raise fault(path, f"is damaged or not an .npz of plain arrays ({type(error).__name__}: {error})") from error


def write_table(path: str | Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns as parquet with page checksums."""
    import pyarrow
    from pyarrow import parquet

    with atomic(path) as temporary:
        parquet.write_table(pyarrow.table(dict(columns)), temporary, write_page_checksum=True)


def read_table(path: str | Path, *names: str) -> dict[str, np.ndarray]:
    """Read columns of a parquet file as arrays, with page checksums verified."""
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=list(names) or None, page_checksum_verification=True)
    except Exception as error:
        raise fault(path, f"is damaged or not a parquet file ({type(error).__name__}: {error})") from error
    if missing := set(names) - set(table.column_names):
        raise fault(path, f"lacks column {', '.join(sorted(missing))}")
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
