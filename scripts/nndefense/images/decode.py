"""Image files to RGB: strict about damage, tolerant about formats, and never a crash.

JPEG scan data is decoded by libjpeg-turbo with warnings as errors (simplejpeg), because Pillow and
torchvision return a picture for damaged scans. A flip inside the entropy-coded data that leaves a valid
stream is beyond any JPEG decoder: the format has no checksum.
"""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from nndefense.images.base import Batch

MAX_PIXELS = 178_956_970  # Pillow's own limit for an error: 0.5 GiB of RGB
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


class Undecodable(Exception):
    """An image cannot be used; the message is the reason, short and the same for the same cause."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an encoded image to an upright 8-bit RGB image.

    Grey is repeated, alpha is laid on white, 16 bits are scaled to 8, palette and CMYK are converted, and the
    EXIF orientation is applied. Of an animation, the first frame is used.

    Raises:
        Undecodable: "empty file", "not an image", "truncated", "damaged", "decompression bomb" (more than
            `max_pixels` by its header; nothing is decoded), or an unsupported pixel mode.
    """
    if not data:
        raise Undecodable("empty file")
    try:
        image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Undecodable("decompression bomb") from None
    except Exception:  # parsers of hostile bytes raise anything: struct.error, SyntaxError, IndexError ...
        raise Undecodable("not an image") from None
    if image.width * image.height > max_pixels:
        raise Undecodable("decompression bomb")
    try:
        return _upright(image, _as_rgb(_strict_jpeg(data, image) if image.format == "JPEG" else image))
    except (Undecodable, MemoryError):
        raise
    except Exception as error:
        raise Undecodable(_reason(str(error))) from None


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
    if image.mode == "RGB" and not image.has_transparency_data:
        image.load()
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise Undecodable("more than 16 bits")
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Undecodable("floating-point pixels")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _upright(original: Image.Image, rgb: Image.Image) -> Image.Image:
    """Apply the orientation in the EXIF data of `original`; EXIF data that cannot be read counts as none."""
    try:
        turn = TURNS.get(original.getexif().get(EXIF_ORIENTATION))
    except Exception:
        turn = None
    return rgb if turn is None else rgb.transpose(turn)


def fit(image: Image.Image, size: int, resize: int | None, crop: str) -> Image.Image:
    """Bring an RGB image to `size` x `size`, as torchvision's Resize and CenterCrop do on PIL images.

    Args:
        size: pixels of the result.
        resize: pixels of the short side before cropping; None: `size`. At least `size`.
        crop: "center", or "none" to squeeze the whole image into the square.
    """
    if crop == "none":
        return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
    short, width, height = resize or size, *image.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def read_file(path: Path, size: int, resize: int | None, crop: str, exact: bool = False) -> np.ndarray:
    """Read one file as uint8 (size, size, 3); `exact` refuses an image of another size.

    Raises:
        Undecodable: the reason why the file is skipped.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Undecodable("missing" if isinstance(error, FileNotFoundError) else "unreadable") from None
    image = decode(data)
    if exact and image.size != (size, size):
        raise Undecodable("another size")
    return np.asarray(fit(image, size, resize, crop))


def _usable_cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def read_files(
    paths: Sequence[Path], size: int, resize: int | None, crop: str, exact: bool = False, threads: int = 0
) -> Batch:
    """Read files in parallel; `threads` 0 takes the CPUs this process may use, at most 16."""

    def attempt(path: Path) -> np.ndarray | str:
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
