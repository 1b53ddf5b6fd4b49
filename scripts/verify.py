"""Verify every artifact below a results folder against its own checksum: damage, truncation, swapped files.

Snakemake compares times, not contents: a file that was replaced or damaged with its old time looks done to it.
Delete what is reported here and rerun.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from nndefense.core.command import Job, parser, run
from nndefense.core.errors import FileFault, NNDefenseError
from nndefense.core.files import check_seal, file_sha256, read_arrays
from nndefense.core.progress import Progress, counted
from nndefense.core.tables import check_table


def check_json(path: Path) -> None:
    """JSON parses; a model's weights have the recorded checksum."""
    about = json.loads(path.read_text(encoding="utf-8"))
    if path.name == "model.json" and file_sha256(path.with_name(about["weights"])) != about["weights_sha256"]:
        raise FileFault(f"{path.with_name(about['weights'])}: has another checksum than model.json records")


CHECKS: dict[str, Callable[[Path], object]] = {
    ".npy": check_seal,
    ".faiss": check_seal,
    ".npz": read_arrays,
    ".parquet": check_table,
    ".json": check_json,
}


def main(arguments: argparse.Namespace, job: Job) -> None:
    files = sorted(path for path in Path(arguments.results).rglob("*") if path.suffix in CHECKS)
    damaged = 0
    with Progress("verify", len(files), "files", job.log) as progress:
        for path in counted(files, progress):
            try:
                CHECKS[path.suffix](path)
            except (NNDefenseError, ValueError, OSError) as error:
                damaged += 1
                job.say(str(error) if isinstance(error, NNDefenseError) else f"{path}: {error}; delete it and rerun")
    if damaged:
        raise FileFault(f"{arguments.results}: {damaged} of {len(files)} files are damaged, listed above")


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("results", nargs="?", default="results", help="folder to verify (default: results)")
    run(main, options.parse_args())
