"""Memory that does not suffice, whichever library says so."""

import contextlib
import ctypes
import errno
import re
from collections.abc import Iterator

from nndefense.core.errors import NNDefenseError

# What the text of a RuntimeError says: torch on the CPU, oneDNN, C++, CUDA and FAISS on it, cuBLAS and cuDNN. oneDNN
# says no more of a primitive whose code or scratchpad cannot be allocated; one that it does not support it calls a
# primitive descriptor.
_WORDS = re.compile(
    r"can(no|')t allocate memory|not enough memory|could not create a memory object"
    r"|could not (create|execute) a primitive(?! desc)|bad_alloc|out of memory|ALLOC_FAILED"
    r"|unable to find a valid cudnn algorithm",
    re.IGNORECASE,
)


class OutOfMemory(NNDefenseError, MemoryError):
    """Memory does not suffice; fewer things at once may help."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory of the host or a device ran out, or was raised because of one that does."""
    return any(map(_says_so, _causes(error)))


def shortage(error: BaseException) -> str:
    """ "out of memory", with the first line of what a library said of it, if it said something."""
    told = next((str(one) for one in _causes(error) if _says_so(one)), "").strip().partition("\n")[0]
    return f"out of memory ({told.rstrip('. ')})" if told else "out of memory"


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and bool(_WORDS.search(str(error)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and what it was raised from: libraries take a lack of memory for damage."""
    while error is not None:
        yield error
        error = error.__cause__


def give_back() -> None:
    """Return to the system what a large file left behind when it was read: what is freed is kept for later otherwise.

    glibc alone knows how; elsewhere nothing is done.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
