"""Attacked images that are submitted to be scored: packs of this workflow's, or somebody else's; read without pickles.

Whoever made them, they are checked: they must be the test images, changed by no more than the budget allows.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.axes.ball import Ball
from nndefense.axes.numbers import number_text
from nndefense.axes.queries import Pack
from nndefense.core.arrays import read_arrays
from nndefense.core.errors import ConfigError, InputError

SUBMITTED = "submitted"
NPZ = "an .npz with images (n, 3, H, W) float32 and rows (n,), a pack below attacks/, or a folder of ROW.png"
PNG_START = b"\x89PNG\r\n\x1a\n"
# Bit depth and colour type, 8-bit RGB, at their place in the first chunk.
PNG_RGB = (slice(24, 26), b"\x08\x02")
BATCH = 64


@dataclass(frozen=True)
class Submission:
    """Images of one budget, not read yet.

    Attributes:
        path: .npz, or folder of PNGs.
        defense: name of the defence that is asked.
        ball: what the budget bounds; None: the images are the clean ones.
        columns: the columns attack, setting, space and epsilon of its result row.
        member: its name within a pack of this workflow's; None: somebody else's images.
    """

    path: Path
    defense: str
    ball: Ball | None
    columns: Mapping[str, Any]
    member: str | None = None

    @property
    def epsilon(self) -> float:
        """The budget."""
        return self.columns["epsilon"]


@dataclass(frozen=True)
class Clean:
    """The test images.

    Attributes:
        path: their file.
        images: (n, 3, H, W) float32. labels, rows: (n,).
        places: row -> its place.
        statistics: mean and standard deviation of each channel, which define standardised pixels.
    """

    path: Path
    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    places: Mapping[int, int]
    statistics: tuple[list[float], list[float]]


@dataclass(frozen=True)
class Checked:
    """Images that are what they should be.

    Attributes:
        images: (n, 3, H, W) float32 in [0, 1].
        labels, rows: (n,), those of the test images.
        delta: (n,) float64, measured distances in the ball; 0 without a ball.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    delta: np.ndarray


def pack_of(path: Path) -> Pack | None:
    """The pack that a path below a folder `attacks` names; None for any other path."""
    parts = Path(os.path.abspath(path)).parts
    for place in reversed([place for place, part in enumerate(parts) if part == "attacks"]):
        try:
            return Pack.parse("/".join(parts[place + 1 :]).removesuffix(".npz"))
        except ConfigError:
            continue
    return None


def list_submissions(path: Path, defense: str | None, ball: Ball | None, epsilon: float | None) -> list[Submission]:
    """What a path submits: one for each budget of a pack of this workflow's, else one.

    Args:
        path: .npz, or folder of PNGs.
        defense: name of the defence; None: the one that the pack's threat names.
        ball: what the budget bounds; None: as the pack's name says, else raw pixels.
        epsilon: the budget; None: all those of the pack.

    Raises:
        InputError: something is not told, or contradicts the pack's name.
    """
    pack = None if path.is_dir() else pack_of(path)
    if pack is None:
        if missing := [name for name, value in (("defense", defense), ("epsilon", epsilon)) if value is None]:
            raise InputError(f"{path}: --{missing[0]} is missing; left out only for packs of a run, {PACK}")
        ball = ball or Ball.parse("raw01")
        columns = {"attack": SUBMITTED, "setting": SUBMITTED, "space": str(ball), "epsilon": epsilon}
        return [Submission(path, str(defense), ball, columns)]
    defense = defense or (pack.threat.defense if pack.threat else None)
    if defense is None:
        raise InputError(f"{path}: --defense is missing; its path names no defence, as adaptive-DEFENSE does")
    if ball not in (None, pack.ball):
        raise InputError(f"--ball {ball}: {path} is within {pack.ball or 'no ball'}; allowed: leave it out")
    if epsilon is not None and epsilon not in pack.epsilons:
        allowed = ", ".join(map(number_text, pack.epsilons))
        raise InputError(f"--epsilon {number_text(epsilon)}: {path} has other budgets; allowed: {allowed}")
    sets = [one for one in pack if epsilon in (None, one.epsilon)]
    return [Submission(path, defense, one.ball, one.columns(), one.member) for one in sets]


PACK = "attacks/BALL/THREAT/ATTACK/eps-EPSILON.npz"


def read_clean(path: str | Path, statistics: tuple[list[float], list[float]]) -> Clean:
    """The test images of a run. FileFault for a damaged file."""
    stored = read_arrays(path, "clean/images", "labels", "rows")
    places = {row: place for place, row in enumerate(stored["rows"].tolist())}
    return Clean(Path(path), stored["clean/images"], stored["labels"], stored["rows"], places, statistics)


def read_checked(submission: Submission, clean: Clean) -> Checked:
    """Submitted images, read and checked against the test images.

    Raises:
        InputError: a file, an image or a row is not what it should be; file and row are named, and what is allowed.
    """
    path = submission.path
    shape = clean.images.shape[1:]
    if path.is_dir():
        images, rows = _read_folder(path, shape)
    else:
        images, rows = _read_npz(path, submission.member)
    if images.dtype != np.float32:
        raise InputError(f"{path}: images are {images.dtype}; allowed: float32")
    if images.ndim != 4 or images.shape[1:] != shape:
        raise InputError(f"{path}: images have shape {images.shape}; allowed: (n, {', '.join(map(str, shape))})")
    if rows.dtype.kind not in "iu" or rows.shape != images.shape[:1] or not len(rows):
        raise InputError(
            f"{path}: rows are {rows.shape} {rows.dtype} for {len(images)} images; allowed: one integer an image"
        )
    places = _places(path, rows.tolist(), clean)
    _check_pixels(path, images, rows)
    delta = _check_distances(submission, images, rows, clean, places)
    return Checked(np.ascontiguousarray(images), clean.labels[places], clean.rows[places], delta)


def _read_npz(path: Path, member: str | None) -> tuple[np.ndarray, np.ndarray]:
    names = (f"{member}/images" if member else "images", "rows")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive.files]
            arrays = [] if missing else [archive[name] for name in names]
    except Exception as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"{path}: cannot be read as an .npz of plain arrays ({reason}); allowed: {NPZ}") from None
    if missing:
        raise InputError(f"{path}: lacks {missing[0]}; allowed: {NPZ}")
    images, rows = arrays
    return images, rows


def _read_folder(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    files = sorted(one for one in path.iterdir() if not one.name.startswith("."))
    if not files:
        raise InputError(f"{path}: is an empty folder; allowed: {NPZ}")
    rows = []
    images = np.empty((len(files), *shape), dtype=np.float32)
    for place, file in enumerate(files):
        found = re.fullmatch(r"([0-9]{1,18})\.png", file.name)
        if found is None:
            raise InputError(f"{file}: is not named ROW.png; allowed: the row of a test image, as 12.png")
        rows.append(int(found[1]))
        pixels = _read_png(file)
        if pixels.shape != shape:
            raise InputError(f"{file}: row {rows[-1]} has shape {pixels.shape}; allowed: {shape}")
        images[place] = pixels.astype(np.float32) / 255
    return images, np.array(rows)


def _read_png(file: Path) -> np.ndarray:
    """Pixels (3, H, W) uint8."""
    from nndefense.images.decode import Undecodable, decode

    allowed = "allowed: a PNG of 8-bit RGB pixels"
    data = file.read_bytes()
    place, wanted = PNG_RGB
    if not data.startswith(PNG_START) or data[place] != wanted:
        raise InputError(f"{file}: is no PNG of 8-bit RGB pixels; {allowed}")
    try:
        return np.asarray(decode(data)).transpose(2, 0, 1)
    except Undecodable as reason:
        raise InputError(f"{file}: {reason}; {allowed}") from None


def _places(path: Path, rows: list[int], clean: Clean) -> np.ndarray:
    """Places (n,) of rows among the test images."""
    seen: set[int] = set()
    for row in rows:
        if row not in clean.places:
            raise InputError(f"{path}: row {row} is no test image; allowed: rows of {clean.path}")
        if row in seen:
            raise InputError(f"{path}: row {row} is there twice; allowed: one image a row")
        seen.add(row)
    return np.array([clean.places[row] for row in rows])


def _check_pixels(path: Path, images: np.ndarray, rows: np.ndarray) -> None:
    # The comparison is written so that a NaN pixel fails it.
    good = (images >= 0) & (images <= 1)
    if not good.all():
        place = int(np.flatnonzero(~good.reshape(len(images), -1).all(axis=1))[0])
        pixel = float(images[place][~good[place]][0])
        raise InputError(f"{path}: row {rows[place]} has a pixel {pixel:g}; allowed: finite pixels in [0, 1]")


def _check_distances(
    submission: Submission, images: np.ndarray, rows: np.ndarray, clean: Clean, places: np.ndarray
) -> np.ndarray:
    """Distances (n,) float64 in the ball of the submission, each within its budget."""
    import torch

    from nndefense.attacks.region import TOLERANCE, distances

    parts = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        known, own = (torch.from_numpy(np.ascontiguousarray(one)) for one in (clean.images[places[part]], images[part]))
        parts.append(distances(known, own, clean.statistics)[str(submission.ball or "raw01")].numpy())
    delta = np.concatenate(parts)
    # Written so that a distance that is no number fails it.
    inside = delta <= submission.epsilon * (1 + TOLERANCE)
    if not inside.all():
        place = int(np.flatnonzero(~inside)[0])
        where = f" ({submission.ball})" if submission.ball else ""
        raise InputError(
            f"{submission.path}: row {rows[place]} is at distance {delta[place]:.8g}{where}; "
            f"allowed: at most {number_text(submission.epsilon)}"
        )
    return delta
