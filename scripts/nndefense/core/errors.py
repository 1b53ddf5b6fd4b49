"""Errors a user can act on: one line that names the key or file, what is wrong, and what is allowed."""

from nndefense.core.text import one_line


class NNDefenseError(Exception):
    """Base class. Scripts print its one-line message and exit with code 1, without a traceback."""

    def __str__(self) -> str:
        # Names of files and classes are in messages, and whatever other libraries say.
        return one_line(super().__str__()).strip()


class ConfigError(NNDefenseError):
    """A configuration key is missing, unknown, or out of range."""


class InputError(NNDefenseError):
    """An argument of a library function, or an image, is outside of what is allowed."""


class FileFault(NNDefenseError):
    """A file is damaged, truncated, of another format, or does not belong to its neighbours."""
