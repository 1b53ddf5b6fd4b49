"""Verify every file below a results folder: against its own checksum, its place, and the files that it was made of.

Snakemake compares times, not contents: a file that was damaged, swapped, or put back from an earlier run with its old
time looks done to it. Delete what is reported here and rerun.
"""

import argparse

from nndefense.core.audit import audit, files_below
from nndefense.core.command import Job, parser, run
from nndefense.core.errors import FileFault
from nndefense.core.progress import Progress, counted


def main(arguments: argparse.Namespace, job: Job) -> None:
    files = files_below(arguments.results)
    with Progress("verify", len(files), "files", job.log) as progress:
        found = audit(counted(files, progress), arguments.results)
    for message in found.faults.values():
        job.say(message)
    for path in found.unknown:
        job.say(f"{path}: has no seal; nothing is known of it")
    if found.faults:
        raise FileFault(f"{arguments.results}: {len(found.faults)} of {len(files)} files are at fault, listed above")
    job.say(f"{len(files) - len(found.unknown):,} files are whole, and belong together")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("results", nargs="?", default="results", help="folder to verify (default: results)")
    run(main, options.parse_args())
