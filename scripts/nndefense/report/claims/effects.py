"""Effects that claims are about: differences of two cells, trends along an axis, how straight a trend is."""

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any

import numpy as np

from nndefense.report.claims.judge import Comparison
from nndefense.report.claims.outcomes import cells_of
from nndefense.report.names import SETTING_NAMES
from nndefense.report.select import Row, matching


def one(rows: Sequence[Row], **values: Any) -> Row | None:
    """The first row whose columns equal the given values; None where there is none."""
    return next(iter(matching(rows, **values)), None)


def minus(label: str, first: Row | None, second: Row | None, group: str = "") -> list[Comparison]:
    """Accuracy of the first cell minus that of the second; nothing if one of them is absent."""
    if first is None or second is None:
        return []
    return [Comparison(label, cells_of([first, second]), lambda a: a[..., 0] - a[..., 1], group)]


def drop(label: str, first: Sequence[Row | None], second: Sequence[Row | None], group: str = "") -> list[Comparison]:
    """The fall in accuracy within the first pair of cells minus that within the second pair."""
    cells = [cell for cell in (*first, *second) if cell is not None]
    if len(cells) < len(first) + len(second):
        return []
    return [Comparison(label, cells_of(cells), lambda a: (a[..., 0] - a[..., 1]) - (a[..., 2] - a[..., 3]), group)]


def change(label: str, rows: Sequence[Row], places: Sequence[float], sign: int = 1) -> list[Comparison]:
    """Change in accuracy from the lowest to the highest place, of a straight line fitted to all of them."""
    weights = line_weights(places)
    if weights is None:
        return []
    weights = sign * weights * (max(places) - min(places))
    return [Comparison(label, cells_of(rows), lambda a: a @ weights)]


def slope_per_doubling(label: str, rows: Sequence[Row], group: str = "") -> list[Comparison]:
    """Change in accuracy with every doubling of the database, of a line fitted over log2 N."""
    weights = line_weights([log2(row["size"]) for row in rows])
    return [] if weights is None else [Comparison(label, cells_of(rows), lambda a: a @ weights, group)]


def straightness(label: str, rows: Sequence[Row], group: str = "") -> list[Comparison]:
    """R2 of the line of accuracy over log2 N; needs three sizes, because two always lie on a line."""
    places = np.array([log2(row["size"]) for row in rows])
    if len(set(places)) < 3:
        return []
    return [Comparison(label, cells_of(rows), lambda a: r_squared(a, places), group)]


def line_weights(places: Sequence[float]) -> np.ndarray | None:
    """Weights (m,) whose product with m values is the least-squares slope; None for fewer than two places."""
    if len(set(places)) < 2:
        return None
    centred = np.asarray(places, dtype=np.float64) - np.mean(places)
    return centred / (centred @ centred)


def r_squared(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Share of the variance of values (..., m) that a line over places (m,) explains; 0 where there is no variance."""
    centred = places - places.mean()
    deviations = values - values.mean(axis=-1, keepdims=True)
    explained = (deviations @ centred) ** 2 / (centred @ centred)
    total = (deviations**2).sum(axis=-1)
    flat = total < 1e-15
    return np.where(flat, 0.0, explained / np.where(flat, 1.0, total))


def condition(row: Mapping[str, Any]) -> str:
    """How the queries of a row were made: Clean, or Gray box Δ = 0.06."""
    if row["setting"] == "clean":
        return SETTING_NAMES["clean"]
    return f"{SETTING_NAMES.get(row['setting'], row['setting'])} Δ = {row['epsilon']:g}"
