"""Image files to RGB: strict about damage, tolerant about formats, and never a crash.

JPEG scan data is decoded by libjpeg-turbo with warnings as errors (simplejpeg), because Pillow and
torchvision return a picture for damaged scans. A flip inside the entropy-coded data that leaves a valid
stream is beyond any JPEG decoder: the format has no checksum.

What one picture may cost is bounded, whatever it claims and holds: by MAX_BYTES of its file, by MAX_PIXELS, MAX_SIDE
and MAX_DRAWN, and by the parts that `nndefense.images.parts` allows. Threads share the first two, so that memory does
not grow with their number: 1.1 GiB at most (measured, of four inks).
"""

import io
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from nndefense.images.base import Batch
from nndefense.images.budget import Budget
from nndefense.images.parts import scans, too_many_parts

MAX_PIXELS = 89_478_485  # above it Pillow warns
MAX_SIDE = 65_536
MAX_BYTES = 1 << 28  # of a file; a picture of MAX_PIXELS takes less, unless it is not compressed
MAX_DRAWN = 32 * MAX_PIXELS  # pixels of all scans of a JPEG; encoders write 10, of four inks 18
MAX_PLAIN = 1 << 22  # bytes of a file of numbers in letters, which Pillow reads one by one
# Formats of pictures; among the others is PostScript, which is a program.
COMMON = ("BMP", "GIF", "JPEG", "PNG", "PPM")
RARE = ("AVIF", "DIB", "JPEG2000", "TGA", "TIFF", "WEBP")
BAND = 1 << 20  # pixels that are converted together
EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What threads hold together.
_BYTES, _PIXELS = Budget(MAX_BYTES), Budget(MAX_PIXELS)
# Beyond 32 MiB an allocator gives memory back when it is freed; of smaller blocks each thread would keep some.
Image.core.set_block_size(1 << 26)


class Undecodable(Exception):
    """An image cannot be used; the message is the reason, short and the same for the same cause."""


def decode(
    data: bytes, max_pixels: int = MAX_PIXELS, then: Callable[[Image.Image], Image.Image] | None = None
) -> Image.Image:
    """Decode an encoded image to an upright 8-bit RGB image.

    Grey is repeated, alpha is laid on white, 16 bits are scaled to 8, palette and CMYK are converted, and the
    EXIF orientation is applied. Of an animation, the first frame is used.

    Args:
        data: of the file.
        max_pixels: that are decoded.
        then: what is made of it while other threads wait to decode theirs.

    Raises:
        Undecodable: "empty file", "not an image", "truncated", "damaged", "decompression bomb" (more than `max_pixels`,
            or a longer side than MAX_SIDE, by its header, or text that unpacks to too much; nothing is decoded), "too
            many parts", "too large" (numbers in letters), or an unsupported pixel mode.
    """
    if not data:
        raise Undecodable("empty file")
    if too_many_parts(data):
        raise Undecodable("too many parts")
    if data[:2] in (b"P1", b"P2", b"P3") and len(data) > MAX_PLAIN:
        raise Undecodable("too large")
    image = _opened(data)
    if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
        raise Undecodable("decompression bomb")
    if image.width * image.height * scans(data) > MAX_DRAWN:
        raise Undecodable("too many parts")
    with _PIXELS.share(image.width * image.height):
        found = _decoded(data, image, then)
        # What is held must be gone before another thread takes its share.
        del image
        return found


def _decoded(data: bytes, image: Image.Image, then: Callable[[Image.Image], Image.Image] | None) -> Image.Image:
    try:
        found = _upright(image, _as_rgb(_strict_jpeg(data, image) if image.format == "JPEG" else image))
        return then(found) if then else found
    except (Undecodable, MemoryError):
        raise
    except Exception as error:
        raise Undecodable(_reason(str(error))) from None


def _opened(data: bytes) -> Image.Image:
    try:
        try:
            return Image.open(io.BytesIO(data), formats=COMMON)
        except UnidentifiedImageError:
            Image.init()
            return Image.open(io.BytesIO(data), formats=[name for name in RARE if name in Image.OPEN])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Undecodable("decompression bomb") from None
    except Exception as error:  # parsers of hostile bytes raise anything: struct.error, SyntaxError, IndexError ...
        packed = isinstance(error, ValueError) and "too large" in str(error)
        raise Undecodable("decompression bomb" if packed else "not an image") from None


def _reason(message: str) -> str:
    message = message.lower()
    cut = any(word in message for word in ("truncated", "premature end of jpeg file", "unexpected end"))
    return "truncated" if cut else "damaged"


def _strict_jpeg(data: bytes, image: Image.Image) -> Image.Image:
    """Decode a JPEG with any libjpeg warning as an error."""
    if image.mode == "CMYK":
        # Adobe files store inverted inks, which Pillow alone accounts for; this pass only looks for damage.
        simplejpeg.decode_jpeg(data, "CMYK")
        return image
    return Image.fromarray(simplejpeg.decode_jpeg(data, "RGB"))


def _as_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _in_bands(image, _scaled)
    if image.mode == "F":
        raise Undecodable("floating-point pixels")
    return _in_bands(image, _on_white) if image.has_transparency_data else image.convert("RGB")


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """What a conversion that looks at each pixel alone makes of an image, without copies of the whole for its steps."""
    found, height = Image.new("RGB", image.size), max(1, BAND // image.width)
    for top in range(0, image.height, height):
        found.paste(convert(image.crop((0, top, image.width, min(top + height, image.height)))), (0, top))
    return found


def _scaled(image: Image.Image) -> Image.Image:
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > 65535:
        raise Undecodable("more than 16 bits")
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _upright(original: Image.Image, rgb: Image.Image) -> Image.Image:
    """Apply the orientation in the EXIF data of `original`; EXIF data that cannot be read counts as none."""
    try:
        turn = TURNS.get(original.getexif().get(EXIF_ORIENTATION, 0))
    except Exception:
        turn = None
    return rgb if turn is None else rgb.transpose(turn)


def fit(image: Image.Image, size: int, resize: int | None, crop: str) -> Image.Image:
    """Bring an RGB image to `size` x `size`, as torchvision's Resize and CenterCrop do on PIL images.

    Args:
        size: pixels of the result.
        resize: pixels of the short side before cropping; None: `size`. At least `size`.
        crop: "center", or "none" to squeeze the whole image into the square.

    Raises:
        Undecodable: "too narrow": resized it would have more than MAX_PIXELS.
    """
    if crop == "none":
        return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
    short, width, height = resize or size, *image.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    if width * height > MAX_PIXELS:
        raise Undecodable("too narrow")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


class Encoded(Protocol):
    """Bytes of an encoded image, `size` of them, that are not read yet."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read_bytes(self) -> bytes:
        """Raises OSError or Undecodable."""


class ImageFile:
    """An image in a file of its own.

    Attributes:
        size: bytes, at most MAX_BYTES.

    Raises:
        OSError: there is none.
        Undecodable: "not a file" (a pipe, a socket, a device, a folder: reading it might never end), or "too large".
    """

    def __init__(self, path: Path) -> None:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise Undecodable("not a file")
        if about.st_size > MAX_BYTES:
            raise Undecodable("too large")
        self.path, self.size = path, about.st_size

    def read_bytes(self) -> bytes:
        """Raises OSError."""
        with open(self.path, "rb") as handle:
            return handle.read(self.size)


def read_file(path: Path | Encoded, size: int, resize: int | None, crop: str, exact: bool = False) -> np.ndarray:
    """Read one image as uint8 (size, size, 3); `exact` refuses an image of another size.

    Raises:
        Undecodable: the reason why the file is skipped.
    """

    def fitted(image: Image.Image) -> Image.Image:
        if exact and image.size != (size, size):
            raise Undecodable("another size")
        return fit(image, size, resize, crop)

    try:
        encoded = ImageFile(path) if isinstance(path, Path) else path
        with _BYTES.share(encoded.size):
            return np.asarray(decode(encoded.read_bytes(), then=fitted))
    except OSError as error:
        raise Undecodable("missing" if isinstance(error, FileNotFoundError) else "unreadable") from None


def _usable_cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def read_files(
    paths: Sequence[Path | Encoded], size: int, resize: int | None, crop: str, exact: bool = False, threads: int = 0
) -> Batch:
    """Read images in parallel; `threads` 0 takes the CPUs this process may use, at most 16."""

    def attempt(path: Path | Encoded) -> np.ndarray | str:
        try:
            return read_file(path, size, resize, crop, exact)
        except Undecodable as reason:
            return str(reason)

    threads = threads or min(16, _usable_cpus())
    batch = Batch(np.zeros((len(paths), size, size, 3), dtype=np.uint8))
    with ThreadPoolExecutor(max(1, min(threads, len(paths)))) as pool:
        for position, result in enumerate(pool.map(attempt, paths)):
            if isinstance(result, str):
                batch.skipped[position] = result
            else:
                batch.images[position] = result
    return batch
