"""How many parts an encoded image has, counted before it is decoded: parsers take time and memory for each of them."""

from collections.abc import Iterator

MAX_PARTS = 65_536  # chunks of a PNG, blocks of a GIF before its first frame; an IDAT of libpng holds 8 KiB
MAX_SEGMENTS = 4_096  # of a JPEG before its first scan, which may be 64 KiB each
JPEG = b"\xff\xd8"


def scans(data: bytes) -> int:
    """How many scans a JPEG has, each of which may change every pixel; 0 of any other format."""
    # In a scan 0xff is followed by 0 or by no such number; those of a thumbnail are counted, too.
    return data.count(b"\xff\xda") if data.startswith(JPEG) else 0


def too_many_parts(data: bytes) -> bool:
    """Whether an image has more parts than any encoder writes; stops at the limit, and decodes nothing."""
    if data.startswith(JPEG):
        return _more(_segments(data), MAX_SEGMENTS)
    if data.startswith(b"\x89PNG"):
        return _more(_chunks(data), MAX_PARTS)
    return data.startswith(b"GIF8") and _more(_blocks(data), MAX_PARTS)


def _more(parts: Iterator[int], limit: int) -> bool:
    return any(count > limit for count, _ in enumerate(parts, 1))


def _segments(data: bytes) -> Iterator[int]:
    """Where segments of a JPEG start, up to its first scan."""
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda" and place + 4 <= len(data):
        yield place
        if data[place + 1] == 0xFF or 0xD0 <= data[place + 1] <= 0xD8:
            place += 1 if data[place + 1] == 0xFF else 2
        else:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))


def _chunks(data: bytes) -> Iterator[int]:
    """Where chunks of a PNG start."""
    place = 8
    while place + 8 <= len(data):
        yield place
        place += 12 + int.from_bytes(data[place : place + 4], "big")


def _blocks(data: bytes) -> Iterator[int]:
    """Where blocks of a GIF start, up to its first frame."""
    place = 13 + (3 << ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    while place < len(data) and data[place] != 0x2C:
        yield place
        if data[place] != 0x21:
            place += 1
            continue
        place += 2
        while place < len(data) and data[place]:
            yield place
            place += 1 + data[place]
        place += 1
