"""What every image set offers: a manifest that costs no decoding, and rows that keep their ids."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nndefense.core.errors import InputError


@dataclass
class Batch:
    """Images read together.

    Attributes:
        images: uint8 (n, H, W, 3), RGB; positions in `skipped` hold zeros.
        skipped: position in the batch -> reason ("truncated", "not an image", ...).
    """

    images: np.ndarray
    skipped: dict[int, str] = field(default_factory=dict)


class ImageSet(ABC):
    """An ordered set of images; row ids are 0 .. len - 1 and never change, also when an image is skipped.

    Attributes:
        class_names: the names that labels index.
    """

    class_names: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows, skipped ones included."""

    @abstractmethod
    def manifest(self) -> dict[str, np.ndarray]:
        """Return one entry a row, without decoding: "source" (str), "label" (int64, -1 = none), "tag" (str,
        "" = none)."""

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Batch:
        """Return the images of `rows`, in that order.

        Raises:
            InputError: a row is not in 0 .. len - 1.
        """


def checked_rows(rows: Sequence[int], length: int) -> np.ndarray:
    """Return `rows` as int64 (n,).

    Raises:
        InputError: a row is outside of 0 .. length - 1, or not an integer.
    """
    ids = np.asarray(rows)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise InputError(f"rows must be a one-dimensional sequence of integers, got {ids.dtype} {ids.shape}")
    ids = ids.astype(np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= length):
        raise InputError(f"rows must be in 0 .. {length - 1}, got {ids.min()} .. {ids.max()}")
    return ids


def text_column(values: Sequence[str]) -> np.ndarray:
    """Return `values` as a unicode array (n,), wide enough for the longest."""
    return np.array(values, dtype=np.str_) if len(values) else np.empty(0, dtype="<U1")
