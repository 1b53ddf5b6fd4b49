"""Seals: who opens a file learns whether it is whole, what it holds, and whose it is.

A seal is a JSON object: `sha256` and `bytes` of the content, `about` (small facts of the caller), `place`, `job` and
`made_of` (`nndefense.core.whose`), and `seal`, a digest of all of these, so that no bit of it can turn unnoticed.
Arrays (`.npy`, `.npz`) and FAISS indexes carry it as a line behind their own bytes: NumPy, memory maps and FAISS read
them as usual. JSON files have it as a key, Parquet as metadata of the file (`nndefense.core.footer`). What other
programs read as it is (text, figures, weights) has a receipt at `seals/{place}.json`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from nndefense.core import whose
from nndefense.core.errors import FileFault

MARK = b"\n#nndefense "
USUAL, LIMIT = 1 << 16, 16 << 20
RECEIPTS = "seals"
FACTS = frozenset({"about", "bytes", "job", "made_of", "place", "seal", "sha256"})

Seal = dict[str, Any]


def fault(path: str | Path, problem: str) -> FileFault:
    """The one-line error of a bad artifact, with its remedy."""
    return FileFault(f"{path}: {problem}; delete it and rerun")


def make_seal(path: str | Path, sha256: str, size: int, about: Mapping[str, Any]) -> Seal:
    """The seal of a file that is about to stand at `path`.

    Args:
        path: its final one.
        sha256: of its content.
        size: bytes of its content.
        about: small JSON facts, e.g. the PCA it was made with.
    """
    seal = {"about": dict(about), "bytes": size, "sha256": sha256, **whose.identity(path, sha256)}
    return seal | {"seal": _digest(seal)}


def is_whole(seal: Any) -> TypeGuard[dict[str, Any]]:
    """Whether what was read as a seal is one, to the bit."""
    return isinstance(seal, dict) and set(seal) == FACTS and seal["seal"] == _digest(seal)


def trailer(seal: Seal) -> bytes:
    """The line that stands behind a file's content."""
    return MARK + canonical(seal).encode() + b"\n"


def canonical(value: Any) -> str:
    """JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True)


def _digest(seal: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical({name: one for name, one in seal.items() if name != "seal"}).encode()).hexdigest()


# -- reading


def read_seal(path: str | Path) -> Seal:
    """The line behind a file's content, after a check of the file's size, its place and what it was made of.

    Raises:
        FileFault: none there, not whole, or another file's.
    """
    seal = read_trailer(path)
    whose.accept(path, seal, READERS)
    return seal


def read_trailer(path: str | Path) -> Seal:
    """The line behind a file's content, wherever it lies. FileFault: none there, or not whole."""
    try:
        with open(path, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            # Most are short; a job may open thousands.
            for length in (USUAL, LIMIT):
                handle.seek(max(0, size - length))
                tail = handle.read()
                if MARK in tail:
                    break
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror})") from error
    start = tail.rfind(MARK)
    try:
        seal = json.loads(tail[start + len(MARK) :]) if start >= 0 else None
    except ValueError:
        seal = None
    if not is_whole(seal) or size - len(tail) + start != seal["bytes"] or tail[start:] != trailer(seal):
        raise fault(path, "is truncated or was not written by this workflow")
    return seal


def check_seal(path: str | Path) -> dict[str, Any]:
    """Verify size and SHA-256 of a sealed file; returns its `about`. FileFault if a single bit differs."""
    seal = read_seal(path)
    digest = hashlib.sha256()
    remaining = seal["bytes"]
    with open(path, "rb") as handle:
        while remaining and (block := handle.read(min(remaining, 1 << 22))):
            digest.update(block)
            remaining -= len(block)
    if digest.hexdigest() != seal["sha256"]:
        raise fault(path, "has a wrong checksum (damaged on disk)")
    return seal["about"]


def seal_of(path: str) -> Seal | None:
    """The seal of any file, unchecked against its content; None where it has none, or not a whole one."""
    reader = SEALS.get(os.path.splitext(path)[1], lambda path: None)
    try:
        found = reader(path)
    except (FileFault, OSError, ValueError):
        return None
    return found if is_whole(found) else None


def _read_json_seal(path: str) -> Any:
    value = json.loads(Path(path).read_bytes())
    return value.get("seal") if isinstance(value, dict) else None


def _read_table_seal(path: str) -> Any:
    from nndefense.core.footer import read_footer

    return read_footer(path).seal


SEALS: dict[str, Callable[[str], Any]] = {
    ".npy": read_trailer,
    ".npz": read_trailer,
    ".faiss": read_trailer,
    ".json": _read_json_seal,
    ".parquet": _read_table_seal,
}


def ledger_of(path: str) -> dict[str, str] | None:
    """What a job made, digests by place, as its ledger says; None where there is none, or not a whole one."""
    try:
        value = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return None
    seal = value.pop("seal", None) if isinstance(value, dict) else None
    return value if is_whole(seal) and seal["sha256"] == hashlib.sha256(canonical(value).encode()).hexdigest() else None


READERS = whose.Readers(seal_of, ledger_of)
