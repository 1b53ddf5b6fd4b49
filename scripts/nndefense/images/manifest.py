"""Manifests on disk: a row an image, in row groups, and where each row's image is, found by the row's number alone."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.errors import InputError
from nndefense.core.tables import TableReader, stream_table
from nndefense.images.base import Block, ImageSet, Places, text_column
from nndefense.images.states import state_of

# Stands in no path, reason or state.
APART = b"\0"


class StoredManifest:
    """A manifest on disk. Only its footer is read when it is opened.

    Attributes:
        sha256: of its content, and of what reading needs besides.
        facts: as `ImageSet.facts` gave them.

    Raises:
        FileFault: the file is absent, damaged, or no manifest of this workflow.
    """

    def __init__(self, path: str | Path) -> None:
        self.table = TableReader(path)
        self.sha256: str | None = self.table.facts.get("sha256")
        self.facts: dict[str, Any] = self.table.facts.get("facts", {})

    def __len__(self) -> int:
        return len(self.table)

    def blocks(self) -> Iterator[Block]:
        """The manifest, row group by row group."""
        yield from self.table.blocks()

    def places(self, rows: np.ndarray) -> Places:
        """Where images of rows (n,) are; reads what the manifest says of these and no others."""
        sources, skipped, states = [], {}, []
        for place, record in enumerate(self.table.records(rows)):
            source, reason, state = [*record.decode().split(APART.decode()), "", ""][:3]
            sources.append(source)
            states.append(state)
            if reason:
                skipped[place] = reason
        return Places(sources, skipped, states if any(states) else ())


def write_manifest(path: str | Path, image_set: ImageSet, advance: Callable[[int], object] = lambda rows: None) -> None:
    """List a set into a manifest; holds one row group at a time, where the set can be listed so.

    Args:
        path: to write.
        image_set: as its options open it.
        advance: is told the number of rows whenever some are written.

    Raises:
        InputError: a name that is not UTF-8, or what the set's kind refuses.
    """
    digests: dict[str, Any] = {}
    with stream_table(path, repeated=("tag", "skipped")) as table:
        for block in image_set.manifest_blocks():
            states = [state_of(path) for path in image_set.files(block["source"].tolist())]
            table.append(block, None if image_set.numbered else _records(block, states))
            for name, values in (block | ({"state": text_column(states)} if states else {})).items():
                digests.setdefault(name, hashlib.sha256()).update(_content(values))
            advance(len(block["source"]))
        facts = image_set.facts()
        parts = {name: digest.hexdigest() for name, digest in digests.items()}
        whole = hashlib.sha256(json.dumps([parts, facts], sort_keys=True).encode()).hexdigest()
        table.facts = {"sha256": whole, "facts": facts}


def _records(block: Block, states: Sequence[str]) -> list[bytes]:
    """Source, reason and state of each row; what is empty at the end is left out."""
    sources = [_encoded(source) for source in block["source"].tolist()]
    reasons = block["skipped"].tolist() if "skipped" in block else [""] * len(sources)
    notes = zip(sources, reasons, states or [""] * len(sources), strict=True)
    return [APART.join([source, reason.encode(), state.encode()]).rstrip(APART) for source, reason, state in notes]


def _encoded(source: str) -> bytes:
    try:
        return source.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name {source!a} is not UTF-8; allowed: files whose names are") from None


def _content(values: np.ndarray) -> bytes:
    """Bytes that do not depend on how rows are divided into blocks."""
    if values.dtype.kind in "iu":
        return values.astype("<i8").tobytes()
    return b"".join(_encoded(value) + APART for value in values.tolist())
