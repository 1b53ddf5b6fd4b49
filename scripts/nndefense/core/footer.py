"""The footer of a Parquet file: where it lies, the seal in it, and the digest that covers both."""

import hashlib
import json
import os
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from nndefense.core.seals import fault

SEAL, FOOTER = b"nndefense seal", b"nndefense footer"
HOLE = re.compile(re.escape(FOOTER) + rb"[^0-9a-f]{1,8}([0-9a-f]{64})")
ZEROS = b"0" * 64
MAGIC = b"PAR1"


class Footer(NamedTuple):
    """What stands at the end of a Parquet file.

    Attributes:
        start: its first byte.
        content: its bytes; those of the digest of itself zeroed.
        place: of that digest among them.
        digest: the digest as it stands there, 64 digits; empty without one.
        seal: the file's, or None of a file of another writer.
    """

    start: int
    content: bytes
    place: int
    digest: bytes
    seal: dict[str, Any] | None


def read_footer(path: str | Path) -> Footer:
    """The footer of a Parquet file, unchecked against anything. FileFault: there is none."""
    try:
        with open(path, "rb") as handle:
            end = handle.seek(0, os.SEEK_END) - len(MAGIC) - 4
            handle.seek(max(0, end))
            tail = handle.read()
            size = int.from_bytes(tail[:4], "little")
            if end < len(MAGIC) or tail[4:] != MAGIC or size > end - len(MAGIC):
                raise fault(path, "is damaged or not a parquet file (no footer)")
            handle.seek(end - size)
            content = handle.read(size)
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror or error})") from error
    found = HOLE.search(content)
    if not found:
        return Footer(end - size, content, 0, b"", None)
    content = content[: found.start(1)] + ZEROS + content[found.end(1) :]
    return Footer(end - size, content, found.start(1), found[1], _seal_in(content))


def _seal_in(content: bytes) -> dict[str, Any] | None:
    """The seal among a footer's bytes."""
    start = content.find(b"{", content.find(SEAL))
    try:
        return json.JSONDecoder().raw_decode(content[start:].decode("latin-1"))[0]
    except ValueError:
        return None


def fill_footer(path: Path) -> None:
    """Write the digest of the footer into the place that was left for it."""
    footer = read_footer(path)
    with open(path, "r+b") as handle:
        handle.seek(footer.start + footer.place)
        handle.write(hashlib.sha256(footer.content).hexdigest().encode())


def part_crc(path: str | Path, start: int, end: int) -> int:
    """CRC-32 of the bytes of a file from `start` up to `end`."""
    found = 0
    with open(path, "rb") as handle:
        handle.seek(start)
        while start < end and (block := handle.read(min(end - start, 1 << 22))):
            found, start = zlib.crc32(block, found), start + len(block)
    return found if start == end else -1
