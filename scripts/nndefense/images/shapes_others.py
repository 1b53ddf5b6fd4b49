"""Kinds that a web-like stream holds beside the task's: look-alikes of its classes, other things, scenes."""

import numpy as np

from nndefense.images.shapes_draw import (
    bar,
    blend,
    box,
    circle,
    convex,
    ellipse,
    star,
    turned,
    union,
    without,
)
from nndefense.images.shapes_kinds import DARK, GREEN, NOWHERE, PALE, VIVID, WOOD, Kind, Layers, Pen, Tone


def pear(p: Pen) -> Layers:
    x, y = p.x, p.y
    body = blend(circle(x, y, 0.0, -0.3, p.vary("low", 0.45, 0.58)), circle(x, y, 0.0, 0.3, 0.3), 0.35)
    stem = bar(x, y, (0.0, 0.5), (p.vary("lean", -0.2, 0.2), 0.9), 0.06)
    return [(stem, 1), (body, 0)]


def heart(p: Pen) -> Layers:
    x, y = np.abs(p.x), p.y
    lobe = circle(x, y, 0.38, 0.28, p.vary("lobe", 0.42, 0.5))
    point = convex(x, y, [(-1.0, 0.2), (0.0, -0.9), (0.78, 0.02), (0.3, 0.45), (-0.5, 0.5)])
    return [(union(lobe, np.maximum(point, -x - 0.4)), 0)]


def sun(p: Pen) -> Layers:
    rays = star(p.x, p.y, 8.0 + np.floor(p.vary("rays", 0.0, 4.0)), p.vary("inner", 0.55, 0.7))
    return [(rays, 1), (circle(p.x, p.y, 0.0, 0.0, p.vary("disc", 0.4, 0.55)), 0)]


def leaf(p: Pen) -> Layers:
    x, y = p.x, p.y
    bulge = p.vary("bulge", 0.35, 0.65)
    blade = np.maximum(circle(x, y, 0.0, bulge - 0.95, 0.95), circle(x, y, 0.0, 0.95 - bulge, 0.95))
    vein = bar(x, y, (-0.7, 0.0), (0.98, 0.0), 0.035)
    return [(blade, 0), (vein, 1)]


def tent(p: Pen) -> Layers:
    x, y = p.x, p.y
    width, top = p.vary("width", 0.7, 0.95), p.vary("top", 0.45, 0.85)
    sides = convex(x, y, [(-width, -0.7), (width, -0.7), (0.0, top)])
    flap = convex(x, y, [(-width * 0.35, -0.7), (width * 0.35, -0.7), (0.0, top * 0.7)])
    return [(bar(x, y, (0.0, top), (0.0, top + 0.2), 0.04), 1), (sides, 0), (flap, 1)]


def lollipop(p: Pen) -> Layers:
    x, y = p.x, p.y
    head = circle(x, y, 0.0, 0.35, p.vary("head", 0.42, 0.58))
    return [(bar(x, y, (0.0, 0.3), (0.0, -0.95), 0.06), 1), (head, 0)]


def cup(p: Pen) -> Layers:
    x, y = p.x, p.y
    width = p.vary("width", 0.4, 0.6)
    handle = np.abs(ellipse(x, y, width, -0.05, 0.35, 0.32)) - 0.08
    body = convex(x, y, [(-width * 0.8, -0.7), (width * 0.8, -0.7), (width, 0.55), (-width, 0.55)])
    return [(handle, 0), (body, 0), (ellipse(x, y, 0.0, 0.55, width, 0.12), 1)]


def car(p: Pen) -> Layers:
    x, y = p.x, p.y
    roof = p.vary("roof", 0.3, 0.55)
    cabin = convex(x, y, [(-0.6, 0.0), (0.55, 0.0), (0.3, roof), (-0.35, roof)])
    body = box(x, y, 0.0, -0.18, 0.92, 0.24)
    wheels = union(circle(x, y, -0.5, -0.45, 0.22), circle(x, y, 0.5, -0.45, 0.22))
    return [(cabin, 0), (cabin + 0.09, 2), (body, 0), (wheels, 1)]


def cloud(p: Pen) -> Layers:
    x, y = p.x, p.y
    puffs = blend(circle(x, y, -0.5, -0.1, 0.34), circle(x, y, 0.5, -0.1, p.vary("right", 0.28, 0.4)), 0.1)
    puffs = blend(puffs, circle(x, y, p.vary("top", -0.2, 0.2), 0.15, 0.48), 0.1)
    return [(np.maximum(puffs, -0.35 - y), 0)]


def moon(p: Pen) -> Layers:
    x, y = p.x, p.y
    return [(without(circle(x, y, 0.0, 0.0, 0.85), circle(x, y, p.vary("bite", 0.3, 0.55), 0.1, 0.75)), 0)]


def snowman(p: Pen) -> Layers:
    x, y = p.x, p.y
    body = union(circle(x, y, 0.0, -0.48, p.vary("low", 0.42, 0.52)), circle(x, y, 0.0, 0.3, 0.33))
    hat = union(box(x, y, 0.0, 0.62, 0.34, 0.05), box(x, y, 0.0, 0.78, 0.22, 0.18))
    buttons = union(*(circle(x, y, 0.0, at, 0.06) for at in (-0.25, -0.5)))
    return [(body, 0), (hat, 1), (buttons, 1)]


def kite(p: Pen) -> Layers:
    x, y = p.x, p.y
    width, middle = p.vary("width", 0.45, 0.65), p.vary("middle", 0.15, 0.4)
    sail = convex(x, y, [(0.0, -0.6), (width, middle), (0.0, 0.95), (-width, middle)])
    tail = np.maximum(np.abs(x - 0.15 * np.sin(9.0 * y)) - 0.04, np.abs(y + 0.8) - 0.25)
    return [(tail, 1), (sail, 0), (np.maximum(np.abs(x) - 0.03, sail), 1)]


def vase(p: Pen) -> Layers:
    x, y = p.x, p.y
    waist = p.vary("waist", 0.32, 0.42)
    outline = np.abs(x) - (waist + 0.22 * np.sin(3.0 * y - p.vary("phase", 0.0, 1.2)))
    return [(np.maximum(outline, np.abs(y) - 0.85) * 0.8, 0)]


def mountains(p: Pen) -> Layers:
    x, y = p.x, p.y
    far = y - p.vary("far", -0.2, 0.3) - 0.35 * np.abs(np.mod(1.1 * x + p.vary("a", 0, 2), 1.6) - 0.8)
    near = y + p.vary("near", 0.2, 0.7) - 0.5 * np.abs(np.mod(0.9 * x + p.vary("b", 0, 2), 1.8) - 0.9)
    return [(y * 0 - 1, 2), (far, 1), (near, 0)]


def checkers(p: Pen) -> Layers:
    pitch = p.vary("pitch", 3.0, 8.0)
    return [(p.x * 0 - 1, 1), (np.sin(pitch * p.x) * np.sin(pitch * p.y) / pitch, 0)]


def stripes(p: Pen) -> Layers:
    pitch = p.vary("pitch", 4.0, 12.0)
    return [(p.x * 0 - 1, 1), ((np.sin(pitch * p.x) - p.vary("duty", -0.5, 0.5)) / pitch, 0)]


def dots(p: Pen) -> Layers:
    pitch = p.vary("pitch", 0.35, 0.7)
    px, py = np.mod(p.x, pitch) - pitch / 2, np.mod(p.y, pitch) - pitch / 2
    return [(p.x * 0 - 1, 1), (circle(px, py, 0.0, 0.0, pitch * p.vary("size", 0.2, 0.42)), 0)]


def rings(p: Pen) -> Layers:
    pitch = p.vary("pitch", 6.0, 14.0)
    return [(p.x * 0 - 1, 1), (np.sin(pitch * circle(p.x, p.y, 0.0, 0.0, 0.0)) / pitch, 0)]


def crossing(p: Pen) -> Layers:
    x, y = turned(p.x, p.y, 0.0, 0.0, p.vary("turn", 0.0, 0.8))
    thick = p.vary("thick", 0.12, 0.28)
    cross = union(box(x, y, 0.0, 0.0, 0.85, thick), box(x, y, 0.0, 0.0, thick, 0.85))
    dot = circle(x, y, 0.0, 0.0, 0.1)
    return [(cross, 0), (p.either("dot", 0.4, dot, dot + NOWHERE), 1)]


OTHER_KINDS = (
    Kind("pear", pear, (Tone((0.2, 0.27, 0.13)), WOOD)),
    Kind("heart", heart, (Tone((0.97, 0.9)),)),
    Kind("sun", sun, (Tone((0.12,)), Tone((0.08, 0.14)))),
    Kind("leaf", leaf, (GREEN, Tone((0.2,), value=(0.3, 0.6))), "ribs"),
    Kind("tent", tent, (VIVID, DARK), "ribs"),
    Kind("lollipop", lollipop, (VIVID, PALE), "rings"),
    Kind("cup", cup, (VIVID, DARK)),
    Kind("car", car, (VIVID, DARK, PALE)),
    Kind("cloud", cloud, (PALE,), "grain"),
    Kind("moon", moon, (Tone((0.14,), (0.1, 0.5), (0.8, 1.0)),)),
    Kind("snowman", snowman, (PALE, DARK)),
    Kind("kite", kite, (VIVID, VIVID)),
    Kind("vase", vase, (Tone((0.05, 0.6)),), "planks"),
    Kind("cross", crossing, (VIVID, PALE)),
    Kind("mountains", mountains, (GREEN, Tone((0.6, 0.08), (0.1, 0.5)), Tone((0.57,), (0.2, 0.6)))),
    Kind("checkers", checkers, (VIVID, PALE)),
    Kind("stripes", stripes, (VIVID, VIVID)),
    Kind("dots", dots, (VIVID, PALE)),
    Kind("rings", rings, (VIVID, VIVID)),
)
