"""Runs work in batches, and in smaller ones where memory does not suffice."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from nndefense.core.errors import InputError, NNDefenseError

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that host or device memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator of torch raises a plain RuntimeError.
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def in_batches(compute: Callable[[slice], T], count: int, batch: int, what: str = "images") -> Iterator[T]:
    """Yields `compute(rows)` for consecutive slices of `range(count)` of at most `batch` rows, in order.

    When memory runs out, the batch is halved and the same rows are tried again; the smaller batch is kept.
    Raises InputError for a batch below 1, NNDefenseError when one row does not fit.
    """
    if batch < 1:
        raise InputError(f"batch {batch}: at least 1 is needed")
    start = 0
    while start < count:
        rows = slice(start, min(start + batch, count))
        try:
            result = compute(rows)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            size = rows.stop - rows.start
            if size == 1:
                raise NNDefenseError(
                    f"out of memory with a batch of one of {count} {what}: more memory is needed"
                ) from None
            batch = size // 2
        else:
            yield result
            start = rows.stop
            continue
        # Not before the exception is gone: its traceback holds the tensors of the failed batch.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
