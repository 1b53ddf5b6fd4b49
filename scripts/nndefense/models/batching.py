"""Runs work in batches, and in smaller ones where memory does not suffice."""

import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from nndefense.core.errors import InputError
from nndefense.core.memory import OutOfMemory, is_out_of_memory, shortage

T = TypeVar("T")


def in_batches(compute: Callable[[slice], T], count: int, batch: int, what: str = "images") -> Iterator[T]:
    """Yields `compute(rows)` for consecutive slices of `range(count)` of at most `batch` rows, in order.

    When memory runs out, the batch is halved and the same rows are tried again; the smaller batch is kept.
    Raises InputError for a batch below 1, OutOfMemory when one row does not fit.
    """
    if batch < 1:
        raise InputError(f"batch {batch}: at least 1 is needed")
    start = 0
    while start < count:
        rows = slice(start, min(start + batch, count))
        try:
            result = compute(rows)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            size = rows.stop - rows.start
            if isinstance(error, OutOfMemory) and size == 1:
                raise
            if size == 1:
                raise OutOfMemory(
                    f"{shortage(error)} with a batch of one of {count} {what}: more memory is needed"
                ) from None
            batch = size // 2
        else:
            yield result
            start = rows.stop
            continue
        # Not before the exception is gone: its traceback holds the tensors of the failed batch. Without torch, nothing
        # is on a device.
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
