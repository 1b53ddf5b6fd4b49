"""One run at a time in a folder, and none that is kept out by a run that was killed.

Snakemake marks a folder by files that it deletes in the end. A run that is killed leaves them, and they do not say
whose they are. A lease is a lock of the system, which ends with its process however that ends, on a file that says who
has it.
"""

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from nndefense.core.errors import FileFault, InputError

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LIMIT = 4096  # bytes of what a lease says of its holder
_TRIES, _PAUSE = 5, 0.1  # seconds


class Lease:
    """The lease of a folder, held within a `with` block.

    Attributes:
        file: which is locked; the folder that it lies in must exist.
        orphaned: whether the last holder ended without giving the lease back, so that what it left behind is nobody's.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self.orphaned = False
        self._handle = -1

    def __enter__(self) -> "Lease":
        """Take the lease.

        Raises:
            FileFault: its file cannot be made.
            InputError: somebody else has it.
        """
        try:
            handle = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise _unwritable(self.file, error) from error
        try:
            _lock(handle)
        except BlockingIOError:
            holder = _holder(handle)
            os.close(handle)
            raise InputError(
                f"{self.file.absolute().parent.parent}: another run works here{_shown(holder)}; allowed: one at a "
                "time, so wait for its end or stop it"
            ) from None
        except OSError:
            # A file system without such locks: who works there is for others to say.
            os.close(handle)
            return self
        self._handle = handle
        self.orphaned = _is_near(_holder(handle))
        return self

    def sign(self) -> None:
        """Say in the file who has the lease: who dies from now on leaves it orphaned.

        Raises FileFault, as on a full disk.
        """
        if self._handle < 0:
            return
        holder = {"boot": _boot(), "host": socket.gethostname(), "process": os.getpid(), "since": time.time()}
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(holder).encode(), 0)
        except OSError as error:
            raise _unwritable(self.file, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle >= 0:
            # Shortening a file needs no space; where it fails all the same, the next run finds an orphaned lease.
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1


def is_orphaned(file: str | Path) -> bool:
    """Whether the last holder of a lease is known to have died; nothing is taken or changed."""
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return _is_near(_holder(handle))
    except OSError:
        return False
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock a file, alone; raises BlockingIOError where that cannot be had."""
    for _ in range(_TRIES):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Also while somebody looks at it, or a process that was killed is being buried.
            time.sleep(_PAUSE)
    return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(handle: int) -> dict[str, Any]:
    """Who signed; empty for nobody."""
    try:
        found = json.loads(os.pread(handle, _LIMIT, 0))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_near(holder: dict[str, Any]) -> bool:
    """Whether a holder ran where its lock would be seen here: locks of some shared file systems end at the machine."""
    here = {"boot": _boot(), "host": socket.gethostname()}
    return any(value and holder.get(key) == value for key, value in here.items())


def _boot() -> str:
    """What tells this start of this machine's kernel, which containers share; "" where nothing does."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _shown(holder: dict[str, Any]) -> str:
    try:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder["since"]))
        return f" (process {holder['process']} of {holder['host']}, since {since})"
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return ""


def _unwritable(file: Path, error: OSError) -> FileFault:
    return FileFault(f"{file}: cannot be written ({error.strerror or error})")
