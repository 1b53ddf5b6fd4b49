"""Hostile pictures: bounded time and memory whatever they claim and hold, skipped and counted by reason."""

import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nndefense.core.errors import NNDefenseError
from nndefense.core.skipped import check_skipped
from nndefense.images import decode as decoding
from nndefense.images import parts
from nndefense.images.budget import Budget
from nndefense.images.decode import MAX_BYTES, MAX_PIXELS, Undecodable, decode, fit
from nndefense.images.folder import Folder
from tests.unit.test_images_folder import JPEG, PNG, encode, photo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Beside what is decoded; the interpreter and its libraries take some of it.
MOST_MIB, MOST_SECONDS = 1000, 20


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, *between: bytes, kind: int = 2, depth: int = 8, after: tuple[bytes, ...] = ()
) -> bytes:
    """A black PNG, a thousandth of its pixels' size."""
    channels = {0: 1, 2: 3, 6: 4}[kind]
    row, deflate = b"\0" * (1 + width * channels * depth // 8), zlib.compressobj(1)
    packed = [deflate.compress(row) for _ in range(height)]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", b"".join(packed) + deflate.flush())
    return b"".join([SIGNATURE, header, *between, pixels, *after, chunk(b"IEND")])


def claiming(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT") + chunk(b"IEND")


def claims(data: bytes, width: int, height: int) -> bytes:
    """A JPEG with another size in its header."""
    frame = data.index(b"\xff\xc0") + 5
    return data[:frame] + struct.pack(">HH", height, width) + data[frame + 4 :]


def gif(blocks: bytes) -> bytes:
    """A GIF with blocks before its frame."""
    data = encode(photo(), "GIF")
    frame = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:frame] + blocks + data[frame:]


def animation(form: str) -> bytes:
    """A hundred frames."""
    frames = [Image.fromarray(photo() + np.uint8(one)) for one in range(100)]
    return encode(frames[0], form, save_all=True, append_images=frames[1:])


def hostile() -> dict[str, tuple[bytes, str]]:
    """Name -> content, and why it is skipped; "" where it is read."""
    packed = b"Comment\0\0" + zlib.compress(b"x" * (8 << 20))
    segments = b"\xff\xe5\0\2" * (parts.MAX_SEGMENTS + 1)
    return {
        "thin.png": (claiming(1, 20_000_000), "decompression bomb"),
        "wide.png": (png(65_537, 1), "decompression bomb"),
        "square.png": (claiming(13_000, 13_000), "decompression bomb"),
        "narrow.png": (png(1, 60_000), "too narrow"),
        "claims.jpg": (claims(JPEG, 65_500, 65_500), "decompression bomb"),
        "claims_less.jpg": (claims(JPEG, 9_000, 9_000), "damaged"),
        "text.png": (png(40, 30, chunk(b"zTXt", packed)), "decompression bomb"),
        "texts.png": (png(40, 30, chunk(b"tEXt", b"a\0b") * (parts.MAX_PARTS + 1)), "too many parts"),
        "after.png": (png(40, 30, after=(chunk(b"tEXt", b"a\0b"),) * (parts.MAX_PARTS + 1)), "too many parts"),
        "segments.jpg": (JPEG[:2] + segments + JPEG[2:], "too many parts"),
        "scans.jpg": (JPEG[:-2] + b"\xff\xda" * 1_100_000, "too many parts"),
        "blocks.gif": (gif((b"\x21\xfe" + b"\x01a" * 1000 + b"\0") * 66), "too many parts"),
        "plain.ppm": (b"P3\n2000 2000\n255\n" + b"1 " * (3 << 20), "too large"),
        "program.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\n{} loop\n", "not an image"),
        "frames.gif": (animation("GIF"), ""),
        "frames.png": (animation("PNG"), ""),
        "frames.webp": (animation("WEBP"), ""),
        "good.png": (PNG, ""),
    }  # fmt: skip


def test_hostile_files_are_skipped_and_counted_by_reason(tmp_path):
    corpus = hostile()
    for name, (data, _) in corpus.items():
        (tmp_path / name).write_bytes(data)
    with open(tmp_path / "huge.bmp", "wb") as handle:
        handle.truncate(MAX_BYTES + 1)
    images = Folder(str(tmp_path), size=64)
    sources = images.manifest()["source"].tolist()
    started = time.monotonic()
    batch = images.read(range(len(images)))
    assert time.monotonic() - started < MOST_SECONDS
    found = {name: batch.skipped.get(place, "") for place, name in enumerate(sources)}
    assert found == {name: reason for name, (_, reason) in corpus.items()} | {"huge.bmp": "too large"}
    with pytest.raises(NNDefenseError, match=r"skipped 15 of 19 images \(.*decompression bomb: 5, .*too many parts: 5"):
        check_skipped(batch.skipped, len(images), 0.5)


def test_an_animation_is_its_first_frame():
    for form in ("GIF", "PNG", "WEBP"):
        with Image.open(io.BytesIO(animation(form))) as image:
            assert image.n_frames == 100
            image.seek(0)
            assert np.array_equal(np.asarray(decode(animation(form))), np.asarray(image.convert("RGB")))


def test_encoders_do_not_reach_the_limits():
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    smooth = photo(800, 600)
    for options in ({}, {"progressive": True}, {"progressive": True, "subsampling": 0}):
        data = encode(
            smooth, "JPEG", quality=95, exif=b"Exif\0\0" + b"\0" * 60_000, icc_profile=b"\0" * 900_000, **options
        )
        assert not parts.too_many_parts(data)
        assert parts.scans(data) <= 12
        assert decode(data).size == (800, 600)
    inks = encode(Image.fromarray(noise).convert("CMYK"), "JPEG", progressive=True)
    assert parts.scans(inks) <= 20 < decoding.MAX_DRAWN / MAX_PIXELS
    assert len(list(parts._chunks(encode(noise, "PNG")))) > 20


@pytest.mark.parametrize(
    "data", [JPEG, PNG, encode(photo(), "GIF"), b"\xff\xd8", b"GIF8", SIGNATURE, b"GIF89a" + b"\xff" * 9]
)
def test_counting_parts_ends_for_every_prefix_and_damage(data):
    rng = np.random.default_rng(0)
    for end in range(0, len(data) + 1, 7):
        assert not parts.too_many_parts(data[:end])
    for _ in range(100):
        bent = bytearray(data)
        for place in rng.integers(0, len(data), 4):
            bent[place] = rng.integers(256)
        parts.too_many_parts(bytes(bent))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_bands_change_no_pixel(mode, monkeypatch):
    image = Image.fromarray(np.dstack([photo(), photo()[..., 0]])).convert(
        "RGBA" if mode == "P" else "L" if mode == "I;16" else mode
    )
    if mode == "P":
        image = image.quantize(16)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 250)
    data = encode(image, "PNG", **({"transparency": 3} if mode == "P" else {}))
    whole = np.asarray(decode(data))
    for pixels in (1, 130, 60 * 47):
        monkeypatch.setattr(decoding, "BAND", pixels)
        assert np.array_equal(np.asarray(decode(data)), whole)


def test_a_picture_that_grows_too_large_on_its_way_is_too_narrow(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 32 * 320)
    image = Image.new("RGB", (10, 100))
    assert fit(image, 32, None, "center").size == (32, 32)
    for size in ((9, 100), (100, 9)):
        with pytest.raises(Undecodable, match=r"^too narrow$"):
            fit(Image.new("RGB", size), 32, None, "center")
    assert fit(Image.new("RGB", (9, 100)), 32, None, "none").size == (32, 32)


# -- what threads hold together


def test_a_budget_is_never_exceeded_but_by_one_alone():
    budget, most, alone = Budget(10), [], []

    def take(amount: int) -> None:
        with budget.share(amount):
            most.append(budget.taken)
            alone.append(amount <= 10 or budget.taken == amount)
            time.sleep(0.001)

    threads = [threading.Thread(target=take, args=(amount,)) for amount in [3, 4, 5, 25, 6, 1, 10, 12] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(most) == 32
    assert max(one for one in most if one not in (25, 12)) <= 10
    assert all(alone)
    assert budget.taken == 0
    with pytest.raises(Undecodable), budget.share(4):
        raise Undecodable
    assert budget.taken == 0


def test_threads_decode_large_pictures_one_after_the_other(tmp_path, monkeypatch):
    held, most = [], []

    def watched(image):
        held.append(1)
        most.append(len(held))
        time.sleep(0.01)
        held.pop()
        return image.convert("RGB")

    monkeypatch.setattr(decoding, "_as_rgb", watched)
    monkeypatch.setattr(decoding, "_PIXELS", Budget(60 * 48))
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(PNG)
    images = Folder(str(tmp_path), size=32)
    images.threads = 6
    assert not images.read(range(6)).skipped
    assert max(most) == 1


COSTLIEST = """
import re, sys
from pathlib import Path
from nndefense.images.decode import read_files
assert not read_files([Path(path) for path in sys.argv[1:]], 224, None, "center", threads=8).skipped
print(int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the most memory of a process")
@pytest.mark.parametrize("kind", [6, 0])
def test_pictures_at_the_limit_take_bounded_memory_and_time(tmp_path, kind):
    """Colours with transparency, and 16 bits, both converted; of three, threads hold no more than of one."""
    side = int(MAX_PIXELS**0.5)
    (tmp_path / "large.png").write_bytes(png(side, side, kind=kind, depth=8 if kind else 16))
    assert (tmp_path / "large.png").stat().st_size < 2_000_000
    place = str(Path(decoding.__file__).parents[2])
    started = time.monotonic()
    told = subprocess.run(
        [sys.executable, "-c", COSTLIEST, *[str(tmp_path / "large.png")] * 3],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": place}, timeout=60,
    )  # fmt: skip
    assert int(told.stdout) < MOST_MIB
    assert time.monotonic() - started < MOST_SECONDS
