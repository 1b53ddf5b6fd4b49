"""One run at a time in a folder; one that was killed does not keep the next one out.

Snakemake's own lock outlives a run that is killed, and has to be removed by hand (`--unlock`). Here it is removed when
the lease beside it (nndefense.core.lease) is orphaned. Locks of which no lease tells are left to Snakemake.
"""

import contextlib

import snakemake.persistence

from nndefense.core.lease import Lease, is_orphaned


def lock_files(persistence):
    """Snakemake's locks, seen from the working directory: in its whole path, Snakemake takes braces for wildcards.

    A run that ends takes their folder away, from one that is about to begin, too.
    """
    persistence._lockdir = os.path.relpath(persistence._lockdir)
    os.makedirs(persistence._lockdir, exist_ok=True)
    return list(Path(persistence._lockdir).glob("*.lock"))


def lease_file(persistence):
    """The file of the lease."""
    return Path(persistence.path, "nndefense.lease")


def heed_leases(kind):
    """Have Snakemake's bookkeeping of locks ask the lease first; once, whatever includes this file."""
    if hasattr(kind, "heeds_leases") or not hasattr(kind, "lock") or not isinstance(kind.locked, property):
        return
    kind.heeds_leases, own_lock, own_locked = True, kind.lock, kind.locked.fget

    @contextlib.contextmanager
    def lock(self):
        with contextlib.ExitStack() as stack:
            try:
                lease = stack.enter_context(Lease(lease_file(self)))
                if lease.orphaned:
                    for path in lock_files(self):
                        path.unlink(missing_ok=True)
                if not lock_files(self):
                    lease.sign()
                stack.enter_context(own_lock(self))
            except NNDefenseError as error:
                raise WorkflowError(str(error)) from None
            except OSError as error:
                raise WorkflowError(f"{self._lockdir}: cannot be written ({error.strerror or error})") from None
            yield

    def locked(self):
        lock_files(self)
        return not is_orphaned(lease_file(self)) and own_locked(self)

    kind.lock, kind.locked = lock, property(locked)


heed_leases(getattr(snakemake.persistence, "PersistenceBase", None) or snakemake.persistence.Persistence)
