"""Signed distances of simple figures, and colours: what the drawn kinds are built from.

Coordinates x, y are float32 (n, H, W), y pointing up; a distance is negative inside, in the same units.
Parameters are scalars or arrays that broadcast against x.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

Array = np.ndarray
Number = float | np.ndarray


def circle(x: Array, y: Array, cx: Number, cy: Number, radius: Number) -> Array:
    """Distance to a disc."""
    return np.sqrt((x - cx) ** 2 + (y - cy) ** 2) - radius


def ellipse(x: Array, y: Array, cx: Number, cy: Number, a: Number, b: Number) -> Array:
    """Approximate distance to an ellipse with half axes a (along x) and b; exact where it is zero."""
    return (np.sqrt(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2) - 1.0) * np.minimum(a, b)


def box(x: Array, y: Array, cx: Number, cy: Number, half_w: Number, half_h: Number) -> Array:
    """Chebyshev-like distance to an axis-aligned box."""
    return np.maximum(np.abs(x - cx) - half_w, np.abs(y - cy) - half_h)


def bar(x: Array, y: Array, start: Sequence[Number], end: Sequence[Number], radius: Number) -> Array:
    """Distance to a segment from `start` to `end` with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    px, py = x - start[0], y - start[1]
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2) - radius


def convex(x: Array, y: Array, corners: Sequence[Sequence[Number]]) -> Array:
    """Distance to a convex polygon, corners anticlockwise (a lower bound near the corners)."""
    sides: list[Array] = []
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        dx, dy = bx - ax, by - ay
        side = ((x - ax) * dy - (y - ay) * dx) / np.sqrt(dx * dx + dy * dy)
        sides.append(side)
    return reduce(np.maximum, sides)


def star(x: Array, y: Array, points: Number, inner: Number) -> Array:
    """Distance to a star with outer radius 1, `points` tips and valleys at radius `inner`; one tip up."""
    sector = np.pi / points
    angle = np.arctan2(x, y)
    angle = np.abs(angle - 2 * sector * np.round(angle / (2 * sector)))
    radius = np.sqrt(x * x + y * y)
    px, py = radius * np.cos(angle), radius * np.sin(angle)
    vx, vy = inner * np.cos(sector), inner * np.sin(sector)
    dx, dy = vx - 1.0, vy
    return ((px - 1.0) * -dy + py * dx) / -np.sqrt(dx * dx + dy * dy)


def petals(x: Array, y: Array, count: Number, radius: Number, depth: Number, phase: Number = 0.0) -> Array:
    """Approximate distance to a rosette: radius * (1 + depth * cos(count * angle))."""
    angle = np.arctan2(x, y)
    return (np.sqrt(x * x + y * y) - radius * (1.0 + depth * np.cos(count * angle + phase))) * 0.8


def union(*distances: Array) -> Array:
    """Points in any of the figures."""
    result = distances[0]
    for distance in distances[1:]:
        result = np.minimum(result, distance)
    return result


def without(distance: Array, hole: Array) -> Array:
    """Points of one figure that are not in `hole`."""
    return np.maximum(distance, -hole)


def blend(first: Array, second: Array, width: float) -> Array:
    """Union with a fillet of `width` (polynomial smooth minimum)."""
    gap = np.maximum(width - np.abs(first - second), 0.0) / width
    return np.minimum(first, second) - gap * gap * (width * 0.25)


def turned(x: Array, y: Array, cx: Number, cy: Number, angle: Number) -> tuple[Array, Array]:
    """Coordinates around (cx, cy), turned by `angle` in radians."""
    c, s = np.cos(angle), np.sin(angle)
    px, py = x - cx, y - cy
    return c * px + s * py, c * py - s * px


def hsv_to_rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """Colours (n,) of hue in turns (any real), saturation and value in [0, 1] as RGB (3, n) in [0, 1]."""
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = np.mod(offset + 6.0 * hue, 6.0)
        channels.append(value - value * saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0))
    return np.stack(channels).astype(np.float32)
