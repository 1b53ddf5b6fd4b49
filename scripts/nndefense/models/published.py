"""Weights that other libraries fetch by name, and the extra that brings these libraries."""

from collections.abc import Iterator
from contextlib import contextmanager

from nndefense.core.errors import FileFault
from nndefense.core.memory import is_out_of_memory

ENCODERS = "the extra `encoders` (pip install 'nndefense[encoders]')"
LONGEST = 120  # letters of what a library says


@contextmanager
def fetching(library: str, weights: str) -> Iterator[None]:
    """Within it a library fetches weights.

    Args:
        library: its name, for messages.
        weights: what they are called.

    Raises:
        FileFault: they cannot be had, whatever the library raised; a lack of memory is passed on as it is.
    """
    try:
        yield
    except Exception as error:  # network, cache and reader raise many kinds
        if is_out_of_memory(error):
            raise
        said = (str(error).splitlines() or [""])[0][:LONGEST]
        raise FileFault(
            f"{weights}: {library} cannot fetch these weights ({type(error).__name__}: {said}); allowed: a connection, "
            "or a file by the key `weights`"
        ) from error
