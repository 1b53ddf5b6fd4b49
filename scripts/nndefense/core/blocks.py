"""Sealed arrays read block by block: memory follows the block, and what was read is what was verified.

`nndefense.core.arrays.stream_array` writes such files block by block. Rows that were skipped belong into a file of
their own, whose length may follow their number: a trailer is read at once.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from nndefense.core.errors import InputError
from nndefense.core.seals import fault, read_seal


def read_blocks(path: str | Path, rows: int, *, columns: int | None = None) -> Iterator[np.ndarray]:
    """Yield a sealed `.npy` as consecutive arrays of `rows` rows, the last one shorter where they do not divide it.

    The digest runs along. It is compared before the last block is handed out, so every earlier one is unverified
    when it comes: publish nothing before the iterator has ended. An iterator that is not run to its end compares
    nothing. Blocks are read, not mapped, so that resident memory is theirs alone and the bytes in use are those hashed.

    Args:
        path: as `write_array` or `stream_array` writes it; `read_seal` gives its `about`.
        rows: >= 1.
        columns: that a table must have; None: any shape.

    Raises:
        InputError: rows out of range.
        FileFault: the file is damaged, no plain array, or has other columns.
    """
    if rows < 1:
        raise InputError(f"a block has {rows} rows; allowed: an integer >= 1")
    seal = read_seal(path)
    with open(path, "rb") as handle:
        shape, dtype = _header(path, handle, seal)
        if columns is not None and (len(shape) != 2 or shape[1] != columns):
            raise fault(path, f"has shape {shape}, expected {columns} columns")
        start = handle.tell()
        handle.seek(0)
        digest = hashlib.sha256(handle.read(start))
        for first in range(0, shape[0], rows):
            block = np.empty((min(rows, shape[0] - first), *shape[1:]), dtype)
            content = block.reshape(-1).view(np.uint8)
            if handle.readinto(content.data) != len(content):
                raise fault(path, "was truncated while it was read")
            digest.update(content.data)
            if first + len(block) == shape[0]:
                _compare(path, digest, seal)
            yield block
        if not shape[0]:
            _compare(path, digest, seal)


def _header(path: str | Path, handle: IO[bytes], seal: dict[str, Any]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array; the handle then stands at its first byte."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = read[np.lib.format.read_magic(handle)](handle)
    except Exception as error:  # of a damaged header NumPy raises many kinds
        raise fault(path, f"is not a plain array ({type(error).__name__})") from error
    if dtype.hasobject or fortran or not shape:
        raise fault(path, f"is not a plain array of rows (type {dtype}, shape {shape})")
    if handle.tell() + dtype.itemsize * math.prod(shape) != seal["bytes"]:
        raise fault(path, f"has {seal['bytes']} bytes, which do not fit its shape {shape}")
    return shape, dtype


def _compare(path: str | Path, digest: Any, seal: dict[str, Any]) -> None:
    if digest.hexdigest() != seal["sha256"]:
        raise fault(path, "has a wrong checksum (damaged on disk)")
