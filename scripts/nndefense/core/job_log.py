"""A job's log, which is no result: where it cannot be written, as on a full disk, the job says so once and goes on."""

import os
import sys
from contextlib import suppress
from pathlib import Path


class JobLog:
    """A text stream for `print`, to a file or to standard error. Nothing of it raises, whatever becomes of the file.

    Attributes:
        path: of the file, which is written anew; None for standard error.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._pending = ""
        self._handle = -1
        self._told = False
        if path is not None:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            except OSError as error:
                self._tell(error)

    def write(self, text: str) -> int:
        """Keep text until `flush`, so that lines stay whole where several processes write."""
        self._pending += text
        return len(text)

    def flush(self) -> None:
        """Write what was kept. What cannot be written is dropped: later lines may find space again."""
        text, self._pending = self._pending, ""
        if self.path is None:
            to_terminal(text)
        elif self._handle >= 0:
            content = text.encode("utf-8", "backslashreplace")
            try:
                while content:
                    content = content[os.write(self._handle, content) :]
            except OSError as error:
                self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            to_terminal(
                f"{self.path}: cannot be written ({error.strerror or error}); the job goes on without its log\n"
            )


def to_terminal(text: str) -> None:
    """Write to standard error, if that is possible."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
