"""Arrays and FAISS indexes on disk, sealed (`nndefense.core.seals`): written whole or block by block, read verified."""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.errors import FileFault
from nndefense.core.files import atomic
from nndefense.core.seals import check_seal, fault, make_seal, read_seal, trailer

FULL_CHECK_BYTES = 1 << 30


def write_sealed(path: str | Path, content: bytes | memoryview, about: Mapping[str, Any]) -> None:
    """Write `content` and its seal atomically. `about`: small JSON facts, e.g. the PCA it was made with."""
    seal = make_seal(path, hashlib.sha256(content).hexdigest(), len(content), about)
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        handle.write(content)
        handle.write(trailer(seal))


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
        handle.write(trailer(make_seal(path, digest.hexdigest(), handle.tell(), about or {})))


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
    """Write named arrays as an uncompressed, sealed `.npz`; equal content gives equal bytes."""
    with atomic(path) as temporary, open(temporary, "w+b") as handle:
        np.savez(handle, allow_pickle=False, **arrays)
        size = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        with np.load(_front(handle, size), allow_pickle=False) as archive:
            members = {
                name: [archive.zip.getinfo(f"{name}.npy").CRC, *_form(np.asarray(one))] for name, one in arrays.items()
            }
        handle.seek(size)
        handle.write(trailer(make_seal(path, digest, size, {"members": members})))


def read_arrays(path: str | Path, *names: str) -> dict[str, np.ndarray]:
    """Read the named arrays (all without names) of an `.npz`.

    Reads nothing else; what it reads is verified by its CRC, and type, shape and CRC by the seal: an archive's
    directory can be damaged, too, and NumPy compares no CRC where a header asks for less than there is.
    """
    seal = read_seal(path)
    members = seal["about"].get("members", {})
    if lacking := [name for name in names if name not in members]:
        raise fault(path, f"lacks {lacking[0]}")
    try:
        with open(path, "rb") as handle, np.load(_front(handle, seal["bytes"]), allow_pickle=False) as archive:
            found = {name: archive[name] for name in (names or archive.files)}
            sums = {name: archive.zip.getinfo(f"{name}.npy").CRC for name in found}
    except Exception as error:
        raise fault(path, f"is damaged or not an .npz of plain arrays ({type(error).__name__}: {error})") from error
    read = {name: [sums[name], *_form(array)] for name, array in found.items()}
    if read != {name: members[name] for name in (names or members)}:
        raise fault(path, "has a wrong checksum (damaged on disk)")
    return found


def _form(array: np.ndarray) -> list[Any]:
    return [array.dtype.str, list(array.shape)]


class _Front(io.RawIOBase):
    """The first `size` bytes of a file, as a file."""

    def __init__(self, handle: io.BufferedIOBase, size: int) -> None:
        self._handle, self._size, self._at = handle, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._handle.seek(self._at)
        count = self._handle.readinto(memoryview(buffer)[: max(0, self._size - self._at)])
        self._at += count
        return count


def _front(handle: io.BufferedIOBase, size: int) -> io.BufferedReader:
    return io.BufferedReader(_Front(handle, size), 1 << 16)
