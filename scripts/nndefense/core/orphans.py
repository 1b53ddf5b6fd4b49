"""A job ends with the run that started it: one that outlives a killed run would write into the next one's results."""

import os
import select
import signal
import threading

# Process id of the run, which a shell command of the workflow sets.
VARIABLE = "NNDEFENSE_RUN"


def end_with_run() -> None:
    """End this process, as if it had been killed, once the run of VARIABLE has ended; without one, nothing is done.

    Needs Linux, which says so at once; elsewhere a job goes on.
    """
    run = os.environ.get(VARIABLE, "")
    if not run.isdigit() or not hasattr(os, "pidfd_open"):
        return
    try:
        handle = os.pidfd_open(int(run))
    except ProcessLookupError:
        _end()
    except OSError:
        # A kernel or a sandbox without it.
        return
    threading.Thread(target=_wait, args=(handle,), name="end with run", daemon=True).start()


def _wait(handle: int) -> None:
    select.select([handle], [], [])
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
