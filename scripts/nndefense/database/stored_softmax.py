"""The softmax stores of pools on disk: files of rows, of confidence weights and of checksums, one of each per shard."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from nndefense.core.arrays import read_array
from nndefense.core.errors import InputError
from nndefense.core.seals import check_seal, fault, read_seal
from nndefense.database.row_checks import CheckedRows, Rows
from nndefense.database.softmax_store import Part, SoftmaxStore

# What lies between two rows is read with them where that is quicker than to ask once more.
NEAR_BYTES = 1 << 14
# Most that is read at once for rows that do not follow each other.
SPAN_BYTES = 1 << 20


class RowReader:
    """Rows of a sealed `.npy`, read where they are asked for: nothing is held, nothing mapped, nothing verified.

    Pages of a memory map count as resident memory, at each touch a group of them, and a file that is cut short while it
    is mapped ends the process. The file is open during a read only, as there may be thousands.

    Args:
        path: as `write_array` or `stream_array` writes it.

    Attributes:
        about: facts of the file. shape, dtype: as of an array; at least one dimension.

    Raises:
        FileFault: the file is absent, cut short, or no plain array.
    """

    def __init__(self, path: str | Path) -> None:
        seal = read_seal(path)
        try:
            # Mapped for its header alone: no row is touched.
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:
            # What NumPy raises depends on where the header is damaged.
            raise fault(path, f"is not a plain array ({type(error).__name__}: {error})") from error
        if not mapped.ndim or not mapped.flags.c_contiguous or mapped.offset + mapped.nbytes != seal["bytes"]:
            raise fault(path, f"is not a plain array of rows (shape {mapped.shape}, {seal['bytes']} bytes)")
        self.path, self.about = path, seal.get("about", {})
        self.shape, self.dtype, self._offset = mapped.shape, mapped.dtype, mapped.offset

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        """Rows at integer places (n,), in any order, repeated or not.

        Raises:
            InputError: a place outside of the file.
            FileFault: the file cannot be read, or ends before a row does.
        """
        if not (places[1:] > places[:-1]).all():
            wanted, inverse = np.unique(places, return_inverse=True)
            return self[wanted][inverse]
        if places.size and not 0 <= places[0] <= places[-1] < self.shape[0]:
            raise InputError(f"{self.path}: rows {places[0]} to {places[-1]} are asked for, of {self.shape[0]}")
        return self._read(places)

    def _read(self, places: np.ndarray) -> np.ndarray:
        """Rows at ascending places (n,)."""
        found = np.empty((len(places), *self.shape[1:]), dtype=self.dtype)
        size = found[:1].nbytes
        if not size:
            return found
        spans = places // max(1, SPAN_BYTES // size)
        far = ((places[1:] - places[:-1] - 1) * size > NEAR_BYTES) | (spans[1:] > spans[:-1])
        edges = [0, *(np.flatnonzero(far) + 1).tolist(), len(places)]
        numbers, content = places.tolist(), _bytes(found)
        with _opened(self.path) as handle:
            for start, stop in pairwise(edges):
                first, last = numbers[start], numbers[stop - 1]
                if last - first == stop - 1 - start:
                    self._fill(content[start * size : stop * size], handle.fileno(), first * size)
                else:
                    rows = np.empty((last - first + 1, *self.shape[1:]), dtype=self.dtype)
                    self._fill(_bytes(rows), handle.fileno(), first * size)
                    found[start:stop] = rows[places[start:stop] - first]
        return found

    def _fill(self, content: memoryview, descriptor: int, position: int) -> None:
        if os.preadv(descriptor, [content], self._offset + position) != len(content):
            raise fault(self.path, "was cut short while it was read")


@contextmanager
def _opened(path: str | Path) -> Iterator[IO[bytes]]:
    try:
        with open(path, "rb", buffering=0) as handle:
            yield handle
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror})") from error


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def open_stores(
    softmax: Iterable[str | Path], weights: Iterable[str | Path], checks: Iterable[str | Path] | None = None
) -> dict[str, SoftmaxStore]:
    """The store of every pool that the files belong to.

    With checksums, a softmax row is verified whenever it is read, and memory follows the rows that are read at once.
    Weights and checksums are verified here. Without checksums all files are memory-mapped, and verified here up to
    1 GiB each.

    Args:
        softmax: one file per shard.
        weights: their confidence weights, in the same order.
        checks: the checksums of their rows (`row_checks`), in the same order.

    Raises:
        FileFault: a file is absent or damaged, or does not belong to the shard of its softmax rows.
    """
    if checks is None:
        opened = (_open_mapped(*paths) for paths in zip(softmax, weights, strict=True))
    else:
        opened = (_open_checked(*paths) for paths in zip(softmax, weights, checks, strict=True))
    parts: dict[str, list[Part]] = {}
    for about, rows, columns in opened:
        parts.setdefault(about["pool"], []).append((about["start"], about["stop"], rows, columns))
    return {pool: SoftmaxStore(shards) for pool, shards in parts.items()}


def _open_mapped(softmax: str | Path, weights: str | Path) -> tuple[Mapping[str, Any], Rows, Rows]:
    rows, about = read_array(softmax, mapped=True)
    return about, rows, read_array(weights, mapped=True)[0]


def _open_checked(softmax: str | Path, weights: str | Path, checks: str | Path) -> tuple[Mapping[str, Any], Rows, Rows]:
    rows, (columns, sums) = RowReader(softmax), (_open_whole(path) for path in (weights, checks))
    # These facts are in no checksum: a damaged one differs from those of the other files.
    for other in (columns, sums):
        for key in ("pool", "start", "stop"):
            if other.about.get(key) != rows.about.get(key):
                named = f"{key} {other.about.get(key)}, {softmax} of {key} {rows.about.get(key)}"
                raise fault(other.path, f"is of {named}")
    return rows.about, CheckedRows(rows, sums, rows.about["start"], softmax), columns


def _open_whole(path: str | Path) -> RowReader:
    check_seal(path)
    return RowReader(path)
