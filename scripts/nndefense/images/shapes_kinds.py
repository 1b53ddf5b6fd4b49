"""The ten kinds of the task: silhouette, palette and preferred texture of each.

A figure function takes a `Pen` and returns layers, back to front, of (signed distance, role); the role
indexes the kind's tones. Figures lie within about [-1, 1] and are drawn upright; pose, light and texture
come later.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nndefense.images.shapes_draw import (
    bar,
    blend,
    box,
    circle,
    convex,
    ellipse,
    petals,
    star,
    union,
    without,
)
from nndefense.images.shapes_random import Draws


@dataclass(frozen=True)
class Tone:
    """A range of colours: hue centres in turns, spread around them, saturation and value ranges."""

    hues: tuple[float, ...]
    saturation: tuple[float, float] = (0.5, 0.95)
    value: tuple[float, float] = (0.55, 0.95)
    spread: float = 0.05


@dataclass(frozen=True)
class Pen:
    """Where a figure is drawn: object coordinates (n, H, W) and the rows' random numbers."""

    x: np.ndarray
    y: np.ndarray
    draws: Draws

    def vary(self, name: str, low: float, high: float) -> np.ndarray:
        """A random parameter of the figure, (n, 1, 1)."""
        return self.draws.vary("figure " + name, low, high)

    def either(self, name: str, probability: float, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """`first` in a random share `probability` of the rows, `second` in the others."""
        return np.where(self.vary(name, 0.0, 1.0) < probability, first, second)


Layers = list[tuple[np.ndarray, int]]


@dataclass(frozen=True)
class Kind:
    """A nameable thing: how to draw it, its tones by role, and the texture it has more often than not."""

    name: str
    figure: Callable[[Pen], Layers]
    tones: tuple[Tone, ...]
    texture: str = "plain"


NOWHERE = np.float32(9.0)
GREEN = Tone((0.3,), (0.4, 0.9), (0.35, 0.75))
WOOD = Tone((0.07,), (0.4, 0.8), (0.3, 0.6))
DARK = Tone((0.0, 0.6), (0.0, 0.4), (0.08, 0.3), 0.2)
PALE = Tone((0.1, 0.15, 0.6), (0.0, 0.25), (0.75, 1.0))
VIVID = Tone((0.0, 0.15, 0.35, 0.55, 0.75, 0.9), (0.5, 0.95), (0.6, 0.98), 0.08)


def apple(p: Pen) -> Layers:
    x, y = p.x, p.y
    gap, low = p.vary("gap", 0.2, 0.32), p.vary("low", 0.8, 1.0)
    body = blend(circle(x * low, y, -gap, -0.1, 0.56), circle(x * low, y, gap, -0.1, 0.56), 0.1)
    lean = p.vary("lean", -0.2, 0.2)
    stem = bar(x, y, (0.0, 0.3), (lean, 0.82), 0.06)
    leaf = ellipse(x + (y - 0.68), y - 0.3 * x, 0.3, 0.56, 0.26, 0.13)
    return [(stem, 2), (p.either("leaf", 0.7, leaf, leaf + NOWHERE), 1), (body, 0)]


def star_figure(p: Pen) -> Layers:
    points = 5.0 + (p.vary("points", 0.0, 1.0) > 0.8)
    body = star(p.x, p.y, points, p.vary("inner", 0.36, 0.55))
    inner = p.either("ring", 0.3, body + 0.14, body + NOWHERE)
    return [(body, 0), (inner, 1)]


def fish(p: Pen) -> Layers:
    x, y = p.x, p.y
    tall = p.vary("tall", 0.28, 0.5)
    body = ellipse(x, y, -0.12, 0.0, 0.68, tall)
    fork = p.vary("fork", 0.3, 0.52)
    tail = convex(x, y, [(0.4, 0.0), (0.95, -fork), (0.95, fork)])
    tail = without(tail, convex(x, y, [(0.75, 0.0), (1.1, -0.25), (1.1, 0.25)]))
    fin = convex(x, y, [(-0.3, tall * 0.7), (0.3, tall * 0.6), (0.2, tall + 0.28)])
    eye = circle(x, y, -0.5, tall * 0.25, 0.09)
    gill = np.maximum(np.abs(circle(x, y, -0.75, 0.0, 0.45)) - 0.03, body)
    return [(union(tail, fin), 1), (body, 0), (gill, 1), (eye, 2)]


def tree(p: Pen) -> Layers:
    x, y = p.x, p.y
    width = p.vary("width", 0.42, 0.72)
    trunk = box(x, y, 0.0, -0.7, p.vary("trunk", 0.07, 0.15), 0.32)
    fir = union(
        *(
            convex(x, y, [(-width * s, low), (width * s, low), (0.0, low + 0.68)])
            for s, low in ((1.0, -0.55), (0.8, -0.15), (0.6, 0.28))
        )
    )
    crown = blend(circle(x, y, -width * 0.6, 0.0, 0.42), circle(x, y, width * 0.6, 0.05, 0.4), 0.2)
    crown = blend(crown, circle(x, y, p.vary("top", -0.15, 0.15), 0.45, 0.46), 0.2)
    return [(trunk, 1), (p.either("fir", 0.5, fir, crown), 0)]


def house(p: Pen) -> Layers:
    x, y = p.x, p.y
    width, eaves = p.vary("width", 0.48, 0.75), p.vary("eaves", 0.0, 0.25)
    walls = box(x, y, 0.0, (eaves - 0.8) / 2, width, (eaves + 0.8) / 2)
    top = p.vary("top", 0.68, 0.95)
    roof = convex(x, y, [(-width - 0.18, eaves), (width + 0.18, eaves), (0.0, top)])
    chimney = box(x, y, width * 0.55, eaves + 0.38, 0.1, 0.32)
    chimney = p.either("chimney", 0.5, chimney, chimney + NOWHERE)
    side = p.vary("side", -0.3, 0.3)
    door = box(x, y, side, -0.55, 0.13, 0.25)
    window = union(box(x, y, side - 0.36, -0.18, 0.1, 0.11), box(x, y, side + 0.36, -0.18, 0.1, 0.11))
    return [(chimney, 1), (walls, 0), (roof, 1), (door, 2), (np.maximum(window, walls), 3)]


def mushroom(p: Pen) -> Layers:
    x, y = p.x, p.y
    base, width = p.vary("base", -0.15, 0.15), p.vary("width", 0.62, 0.92)
    cap = np.maximum(ellipse(x, y, 0.0, base, width, p.vary("cap", 0.5, 0.85)), base - y)
    thick = p.vary("thick", 0.14, 0.28)
    stem = convex(x, y, [(-thick * 1.4, -0.88), (thick * 1.4, -0.88), (thick, base), (-thick, base)])
    spots = union(*(circle(x, y, sx * width, base + sy, 0.11) for sx, sy in ((-0.5, 0.2), (0.1, 0.42), (0.55, 0.16))))
    spots = np.maximum(spots, cap)
    return [(stem, 1), (cap, 0), (p.either("spots", 0.6, spots, spots + NOWHERE), 1)]


def boat(p: Pen) -> Layers:
    x, y = p.x, p.y
    length, deck = p.vary("length", 0.65, 0.95), p.vary("deck", -0.4, -0.2)
    hull = convex(x, y, [(-length * 0.65, -0.8), (length * 0.65, -0.8), (length, deck), (-length, deck)])
    at = p.vary("mast", -0.2, 0.2)
    mast = bar(x, y, (at, deck), (at, 0.92), 0.05)
    main = convex(x, y, [(at + 0.06, deck + 0.12), (at + 0.7, deck + 0.12), (at + 0.06, 0.9)])
    jib = convex(x, y, [(at - 0.6, deck + 0.12), (at - 0.08, deck + 0.12), (at - 0.08, 0.7)])
    return [(mast, 2), (main, 1), (p.either("jib", 0.6, jib, jib + NOWHERE), 1), (hull, 0)]


def flower(p: Pen) -> Layers:
    x, y = p.x, p.y
    lift = p.vary("lift", 0.1, 0.35)
    count = 5.0 + np.floor(p.vary("count", 0.0, 3.0))
    head = petals(x, y - lift, count, p.vary("head", 0.42, 0.55), p.vary("depth", 0.2, 0.4))
    heart = circle(x, y, 0.0, lift, p.vary("heart", 0.14, 0.24))
    bend = p.vary("bend", -0.2, 0.2)
    stem = bar(x, y, (0.0, lift), (bend, -0.95), 0.06)
    leaf = ellipse(x - bend, y + 0.3 * x, 0.24, -0.5, 0.26, 0.11)
    return [(stem, 1), (p.either("leaf", 0.6, leaf, leaf + NOWHERE), 1), (head, 0), (heart, 2)]


def umbrella(p: Pen) -> Layers:
    x, y = p.x, p.y
    width, rim = p.vary("width", 0.75, 1.0), p.vary("rim", 0.0, 0.2)
    dome = np.maximum(ellipse(x, y, 0.0, rim, width, p.vary("dome", 0.55, 0.8)), rim - 0.05 - y)
    scallops = union(*(circle(x / width, y, k, rim - 0.08, 0.19) for k in (-0.66, 0.0, 0.66)))
    dome = without(dome, scallops)
    pole = bar(x, y, (0.0, rim + 0.7), (0.0, -0.72), 0.05)
    hook = np.maximum(np.abs(circle(x, y, 0.16, -0.72, 0.16)) - 0.05, y + 0.72)
    ribs = np.maximum(np.abs(ellipse(x, y, 0.0, rim, width * 0.36, 0.95)) - 0.025, dome)
    return [(union(pole, hook), 2), (dome, 0), (p.either("ribs", 0.6, ribs, ribs + NOWHERE), 1)]


def cactus(p: Pen) -> Layers:
    x, y = p.x, p.y
    thick = p.vary("thick", 0.17, 0.26)
    trunk = bar(x, y, (0.0, -0.75), (0.0, 0.7), thick)
    left, right = p.vary("left", -0.3, 0.15), p.vary("right", -0.3, 0.15)
    arm = thick * 0.7
    arms = union(
        bar(x, y, (-0.55, left), (0.0, left), arm),
        bar(x, y, (-0.55, left), (-0.55, left + 0.4), arm),
    )
    other = union(
        bar(x, y, (0.55, right), (0.0, right), arm),
        bar(x, y, (0.55, right), (0.55, right + 0.4), arm),
    )
    other = p.either("arms", 0.65, other, other + NOWHERE)
    pot = convex(x, y, [(-0.3, -0.98), (0.3, -0.98), (0.42, -0.5), (-0.42, -0.5)])
    return [(union(trunk, arms, other), 0), (p.either("pot", 0.45, pot, pot + NOWHERE), 1)]


TASK_KINDS = (
    Kind("apple", apple, (Tone((0.0, 0.0, 0.27)), GREEN, WOOD)),
    Kind("star", star_figure, (Tone((0.13, 0.13, 0.6), value=(0.75, 1.0)), VIVID), "rings"),
    Kind("fish", fish, (Tone((0.55, 0.06)), Tone((0.06, 0.0), (0.6, 0.95)), DARK), "scales"),
    Kind("tree", tree, (GREEN, WOOD), "grain"),
    Kind(
        "house",
        house,
        (Tone((0.04, 0.1), (0.2, 0.7)), Tone((0.0, 0.6), (0.4, 0.8), (0.3, 0.7)), DARK, PALE),
        "bricks",
    ),
    Kind("mushroom", mushroom, (Tone((0.0, 0.07), (0.5, 0.9), (0.45, 0.9)), PALE), "spots"),
    Kind("boat", boat, (Tone((0.0, 0.6, 0.07), (0.4, 0.9), (0.3, 0.8)), PALE, WOOD), "planks"),
    Kind("flower", flower, (Tone((0.9, 0.15, 0.78)), GREEN, Tone((0.13, 0.08))), "rays"),
    Kind("umbrella", umbrella, (Tone((0.0, 0.15, 0.75)), VIVID, DARK), "rays"),
    Kind("cactus", cactus, (Tone((0.33, 0.38), (0.4, 0.8), (0.35, 0.75)), Tone((0.05,))), "ribs"),
)
