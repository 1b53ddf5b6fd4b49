"""Small tars as img2dataset writes them."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from nndefense.images.base import ImageSet

FISH = {"tench": ["Tinca tinca"], "tiger shark": [], "crème": []}
FORMS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def picture(number: int, width: int = 40, height: int = 30) -> np.ndarray:
    """A ramp that its number tells apart, uint8 (height, width, 3)."""
    ramp = np.linspace(0, 60, width)[None, :, None] + np.linspace(0, 40, height)[:, None, None]
    return (ramp + np.array([number * 37 % 150, number * 61 % 150, number * 89 % 150])).astype(np.uint8)


def encoded(number: int, suffix: str = "jpg", width: int = 40, height: int = 30) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(number, width, height)).save(stream, FORMS[suffix], lossless=True)
    return stream.getvalue()


def sample(number: int, suffix: str = "jpg", caption: str = "", **notes: object) -> dict[str, bytes]:
    """Name -> bytes of one sample: an image, its caption, and its JSON."""
    key = f"{number:09d}"
    about = json.dumps({"key": key, "caption": caption, "status": "success", **notes})
    return {f"{key}.{suffix}": encoded(number, suffix), f"{key}.json": about.encode(), f"{key}.txt": caption.encode()}


def write_tar(path: Path, files: Mapping[str, bytes] | Iterable[tuple[str, bytes]], **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, data in files.items() if isinstance(files, Mapping) else files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_samples(path: Path, *samples: Mapping[str, bytes]) -> Path:
    return write_tar(path, [pair for one in samples for pair in one.items()])


def place_of(path: Path, name: str) -> tarfile.TarInfo:
    """Where a file lies in a tar."""
    with tarfile.open(path) as tar:
        return tar.getmember(name)


def cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


def write_words(folder: Path) -> str:
    """A tag list."""
    path = folder / "fish.json"
    path.write_text(json.dumps(FISH))
    return str(path)


def sources(images: ImageSet) -> list[str]:
    """Where images lie, without their offsets."""
    return [source.partition("@")[0] for source in images.manifest()["source"].tolist()]
