"""Every file of a run against its seal, and the files against one another: what is damaged, swapped, or stale."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nndefense.core.arrays import read_arrays
from nndefense.core.errors import NNDefenseError
from nndefense.core.files import file_sha256, read_json
from nndefense.core.seals import READERS, RECEIPTS, Seal, check_seal, fault, seal_of
from nndefense.core.tables import TableReader
from nndefense.core.whose import begin, misfit

UNSEALED = frozenset({"benchmarks", "logs"})


class Findings(NamedTuple):
    """What is wrong with files, by their path.

    Attributes:
        faults: path -> what is wrong, in one line.
        unknown: files without a seal or a receipt, which nothing is known of.
    """

    faults: dict[str, str]
    unknown: list[str]


def files_below(root: str | Path) -> list[str]:
    """Paths of the files of results, sorted, without logs, benchmarks and hidden ones."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in UNSEALED]
        found += [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def audit(paths: Iterable[str], root: str | Path) -> Findings:
    """Check files in full, and go on after every fault.

    Args:
        paths: of `files_below`; consumed one by one, so that progress can be counted.
        root: the folder that they lie below.
    """
    begin(None, compare=False)
    faults, unknown, seals = {}, [], {}
    for path in paths:
        try:
            seal = _checked(path, root)
            if seal is None:
                unknown.append(path)
            elif seal.get("place"):
                seals[path] = seal
        except (NNDefenseError, OSError, ValueError) as error:
            faults[path] = str(error) if isinstance(error, NNDefenseError) else str(fault(path, str(error)))
    faults |= dict(_strangers(seals, set(faults)))
    return Findings(faults, unknown)


def _checked(path: str, root: str | Path) -> Seal | None:
    """The seal of a file whose content was compared with it; None without one."""
    checks: dict[str, Callable[[str], object]] = {
        ".npy": check_seal,
        ".npz": lambda path: (check_seal(path), read_arrays(path)),
        ".faiss": check_seal,
        ".parquet": check_table,
        ".json": _check_json,
    }
    check = checks.get(os.path.splitext(path)[1])
    if check is not None:
        check(path)
        return seal_of(path)
    receipt = _receipt(path, root)
    if receipt is None and path.endswith(".safetensors") and Path(path).with_name("model.json").is_file():
        return {"place": None}
    if receipt is None:
        return None
    if read_json(receipt).get("sha256") != file_sha256(path):
        raise fault(path, f"has another checksum than {receipt} records")
    return {"place": None}


def check_table(path: str) -> None:
    """Read all of a table, and so verify its checksums, one row group at a time."""
    table, start = TableReader(path), 0
    for block in table.blocks():
        count = len(next(iter(block.values())))
        if table.has_records:
            table.records(np.arange(start, start + count))
        start += count


def _check_json(path: str) -> None:
    """And weights beside it, whose checksum it records."""
    value = read_json(path)
    if (
        "weights_sha256" in value
        and file_sha256(weights := Path(path).with_name(value["weights"])) != value["weights_sha256"]
    ):
        raise fault(weights, f"has another checksum than {path} records")


def _receipt(path: str, root: str | Path) -> Path | None:
    """The receipt of a file: of a run that lies at the root, or below."""
    for folder in Path(path).parents:
        found = folder / RECEIPTS / f"{Path(path).relative_to(folder).as_posix()}.json"
        if found.is_file():
            return found
        if folder == Path(root):
            break
    return None


def _strangers(seals: Mapping[str, Seal], faulty: set[str]) -> Iterator[tuple[str, str]]:
    """Files that do not fit their job's ledger, or what they were made of, and why; each fault once."""
    said: set[str] = set()
    for path, seal in seals.items():
        found = misfit(path, seal, READERS)
        if found and (name := str(found).split(": ")[0]) not in faulty | said:
            said.add(name)
            yield name, str(found)
