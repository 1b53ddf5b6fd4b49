"""One picture from a kind: pose, background, texture, clutter, occlusion, light and noise.

Everything is vectorised over rows; colours are float32 (3, n, H, W) in [0, 1] until the end.
"""

import numpy as np

from nndefense.images.shapes_draw import hsv_to_rgb, turned
from nndefense.images.shapes_kinds import TASK_KINDS, Kind, Pen, Tone
from nndefense.images.shapes_others import OTHER_KINDS
from nndefense.images.shapes_random import Draws

ALL_KINDS = (*TASK_KINDS, *OTHER_KINDS)
OFF_PALETTE = 0.18
OWN_TEXTURE = 0.65


def render(kinds: np.ndarray, draws: Draws, size: int) -> np.ndarray:
    """Draw one picture a row.

    Args:
        kinds: int64 (n,), index into `ALL_KINDS`.
        draws: random numbers of the n rows.
        size: height and width in pixels.

    Returns:
        uint8 (n, size, size, 3), RGB.
    """
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0).astype(np.float32)
    u, v = np.broadcast_arrays(axis[None, None, :], -axis[None, :, None])
    image = _background(u, v, draws)
    _clutter(image, u, v, draws, "clutter", 0.35, 2)
    x, y, pixels = _pose(u, v, draws, size)
    texture = _textures(x, y, kinds, draws)
    for kind in np.unique(kinds):
        index = np.flatnonzero(kinds == kind)
        part = image[:, index]
        pen = Pen(x[index], y[index], draws.take(index))
        _paint_kind(part, ALL_KINDS[kind], pen, texture[index], pixels[index])
        image[:, index] = part
    _clutter(image, u, v, draws, "occluder", 0.2, 1)
    return _finish(image, u, v, draws)


def _pose(u: np.ndarray, v: np.ndarray, draws: Draws, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object coordinates (n, H, W) twice, and pixels per object unit (n, 1, 1)."""
    scale = draws.vary("scale", 0.6, 0.98)
    room = 1.1 - scale * 0.9
    shift_x, shift_y = draws.vary("shift x", -0.55, 0.55) * room, draws.vary("shift y", -0.55, 0.55) * room
    angle = draws.vary("angle", -0.48, 0.48)
    x, y = turned(u, v, shift_x, shift_y, angle)
    x = x + draws.vary("shear", -0.2, 0.2) * y
    stretch = draws.vary("stretch", 0.85, 1.18)
    mirror = np.where(draws.vary("mirror") < 0.5, np.float32(-1), np.float32(1))
    return x * mirror / (scale * stretch), y * stretch / scale, scale * (size / 2)


def _colour(tone: Tone, draws: Draws, name: str) -> np.ndarray:
    """One colour a row from a tone, RGB (3, n)."""
    centre = np.array(tone.hues, dtype=np.float32)[draws.integer(name + " centre", len(tone.hues))]
    hue = centre + draws.uniform(name + " hue", -tone.spread, tone.spread)
    return hsv_to_rgb(
        hue,
        draws.uniform(name + " saturation", *tone.saturation),
        draws.uniform(name + " value", *tone.value),
    )


ANY = Tone((0.0,), (0.0, 0.65), (0.1, 0.95), 0.5)
ANY_VIVID = Tone((0.0,), (0.3, 0.95), (0.35, 0.95), 0.5)


def _shades(colour: np.ndarray) -> np.ndarray:
    return colour[:, :, None, None]


def _background(u: np.ndarray, v: np.ndarray, draws: Draws) -> np.ndarray:
    """Two colours mixed by one of several patterns, (3, n, H, W)."""
    shape = (len(draws), *u.shape[1:])
    mix = np.empty(shape, dtype=np.float32)
    choice = draws.integer("background", len(BACKGROUNDS))
    for number, pattern in enumerate(BACKGROUNDS):
        index = np.flatnonzero(choice == number)
        if index.size:
            part = draws.take(index)
            turned_u, turned_v = turned(u, v, 0.0, 0.0, part.vary("background angle", 0.0, 6.28))
            mix[index] = pattern(turned_u, turned_v, part)
    first = _colour(ANY, draws, "background")
    other = _colour(ANY, draws, "background too")
    strength = draws.uniform("background contrast", 0.05, 0.8)
    second = first + (other - first) * strength
    return _shades(first) + _shades(second - first) * mix


def _gradient(u: np.ndarray, v: np.ndarray, d: Draws) -> np.ndarray:
    return np.clip(0.5 + 0.5 * u, 0.0, 1.0)


def _bands(u: np.ndarray, v: np.ndarray, d: Draws) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(d.vary("band pitch", 5.0, 18.0) * u)


def _waves(u: np.ndarray, v: np.ndarray, d: Draws) -> np.ndarray:
    pitch = d.vary("wave pitch", 2.0, 7.0)
    return 0.5 + 0.25 * (np.sin(pitch * u + 2.0 * np.sin(pitch * 0.6 * v)) + np.sin(pitch * 1.7 * v + 3.0 * u))


def _tiles(u: np.ndarray, v: np.ndarray, d: Draws) -> np.ndarray:
    pitch = d.vary("tile pitch", 5.0, 12.0)
    return np.clip(0.5 + 2.0 * np.sin(pitch * u) * np.sin(pitch * v), 0.0, 1.0)


def _horizon(u: np.ndarray, v: np.ndarray, d: Draws) -> np.ndarray:
    return np.clip(0.5 + 6.0 * (u - d.vary("horizon", -0.5, 0.5)), 0.0, 1.0)


def _speckle(u: np.ndarray, v: np.ndarray, d: Draws) -> np.ndarray:
    return d.grain("speckle", u[0].size).reshape(u.shape) * np.float32(0.25) + np.float32(0.5)


BACKGROUNDS = (_gradient, _gradient, _bands, _waves, _waves, _tiles, _horizon, _speckle)


def _clutter(
    image: np.ndarray, u: np.ndarray, v: np.ndarray, draws: Draws, name: str, share: float, count: int
) -> None:
    """Paint up to `count` random discs and slabs over a `share` of the rows, in place."""
    for number in range(count):
        mine = f"{name} {number} "
        index = np.flatnonzero(draws.chance(mine + "shown", share))
        if not index.size:
            continue
        d = draws.take(index)
        away = d.vary(mine + "direction", 0.0, 6.28)
        reach = d.vary(mine + "distance", 0.45, 1.1)
        x, y = turned(u, v, reach * np.cos(away), reach * np.sin(away), d.vary(mine + "angle", 0.0, 3.14))
        size, flat = d.vary(mine + "size", 0.12, 0.4), d.vary(mine + "flat", 0.3, 1.6)
        disc = np.sqrt(x * x + y * y) - size
        slab = np.maximum(np.abs(x) - size, np.abs(y) - size * flat)
        distance = np.where(d.vary(mine + "form") < 0.5, disc, slab)
        cover = np.clip(0.5 - distance * (u.shape[-1] / 2), 0.0, 1.0)
        image[:, index] += cover * (_shades(_colour(ANY_VIVID, d, mine)) - image[:, index])


def _textures(x: np.ndarray, y: np.ndarray, kinds: np.ndarray, draws: Draws) -> np.ndarray:
    """A pattern in [0, 1] a row (n, H, W): the kind's own in most rows, any in the others."""
    names = list(TEXTURES)
    own = np.array([names.index(kind.texture) for kind in ALL_KINDS])[kinds]
    choice = np.where(draws.chance("own texture", OWN_TEXTURE), own, draws.integer("texture", len(names)))
    result = np.empty_like(x)
    for number, name in enumerate(names):
        index = np.flatnonzero(choice == number)
        if index.size:
            pitch = draws.take(index).vary("texture pitch", 0.75, 1.3)
            result[index] = TEXTURES[name](x[index] * pitch, y[index] * pitch)
    return result


def _bricks(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    row = np.floor(y * 5.0)
    across = np.abs(np.mod(x * 2.5 + 0.5 * np.mod(row, 2.0), 1.0) - 0.5)
    return np.clip(12.0 * np.maximum(across - 0.4, np.abs(np.mod(y * 5.0, 1.0) - 0.5) - 0.32), 0.0, 1.0)


def _scales(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    row = np.floor(x * 5.0)
    py = np.mod(y * 4.0 + 0.5 * np.mod(row, 2.0), 1.0) - 0.5
    px = np.mod(x * 5.0, 1.0)
    return np.clip(1.5 * np.sqrt(px * px + 1.5 * py * py) - 0.4, 0.0, 1.0)


def _spots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 4.0 * (np.sin(8.0 * x) * np.sin(8.0 * y) - 0.35), 0.0, 1.0)


def _ripples(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.5 + 0.25 * (np.sin(11.0 * x + 3.0 * np.sin(5.0 * y)) + np.sin(13.0 * y + 4.0 * np.sin(6.0 * x)))


TEXTURES = {
    "plain": lambda x, y: np.zeros_like(x),
    "rings": lambda x, y: 0.5 + 0.5 * np.sin(14.0 * np.sqrt(x * x + y * y)),
    "scales": _scales,
    "grain": _ripples,
    "bricks": _bricks,
    "spots": _spots,
    "planks": lambda x, y: 0.5 + 0.5 * np.sin(16.0 * y),
    "ribs": lambda x, y: 0.5 + 0.5 * np.sin(16.0 * x),
    "rays": lambda x, y: 0.5 + 0.5 * np.sin(8.0 * np.arctan2(x, y - 0.2)),
}


def _paint_kind(image: np.ndarray, kind: Kind, pen: Pen, texture: np.ndarray, pixels: np.ndarray) -> None:
    """Paint the figure of one kind over its rows of the image, in place."""
    d = pen.draws
    strange = d.chance("off palette", OFF_PALETTE)
    colours = [_colour(tone, d, f"role {role}") for role, tone in enumerate(kind.tones)]
    colours[0] = np.where(strange, _colour(ANY_VIVID, d, "strange"), colours[0])
    second = _colour(ANY_VIVID, d, "texture")
    marks = colours[0] + (second - colours[0]) * d.uniform("texture strength", 0.0, 0.65)
    relief = d.vary("relief", 0.0, 0.5)
    for distance, role in kind.figure(pen):
        cover = np.clip(0.5 - distance * pixels, 0.0, 1.0)
        light = 1.0 - relief * np.clip(1.0 + 3.0 * distance, 0.0, 1.0)
        for channel in range(3):
            paint = colours[role][channel][:, None, None] * light
            if role == 0:
                paint = paint + texture * (marks[channel] - colours[0][channel])[:, None, None] * light
            image[channel] += cover * (paint - image[channel])


def _finish(image: np.ndarray, u: np.ndarray, v: np.ndarray, draws: Draws) -> np.ndarray:
    """Light falling from one side, brightness, and noise; uint8 (n, H, W, 3)."""
    side = draws.vary("light side", 0.0, 6.28)
    slope = draws.vary("light slope", 0.0, 0.35)
    light = draws.vary("brightness", 0.7, 1.15) * (1.0 + slope * (np.cos(side) * u + np.sin(side) * v))
    noise = draws.grain("noise", image[:, 0].size).reshape(len(draws), 3, *u.shape[1:])
    image = image * light + noise.swapaxes(0, 1) * draws.vary("noise level", 0.0, 0.06)
    levels = np.clip(image * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 3, 0))
