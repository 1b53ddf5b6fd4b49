"""Figures 4, 11 and 12: accuracy against the budget, a line per feature layer, in two settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from nndefense.errors import InputError
from nndefense.features.names import is_rmac
from nndefense.report.curves import Curve, draw_by_budget, handle, looks_of, select_budgets
from nndefense.report.select import Row, defended, distinct, largest, layer_depth, main_pool, matching

SETTINGS = ("gray_box", "black_box")


def select_fig4(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Rows that the figure shows: all layers in the largest database, and the model without a defence."""
    ours = select_budgets(defended(rows, base, "neighbors", "weighting", "combination"), base, SETTINGS)
    ours = [row for row in ours if not is_rmac(row["features"])]
    ours = largest(matching(ours, pool=main_pool(ours))) if ours else []
    if all(row["setting"] == "clean" for row in ours):
        raise InputError(f"figure 4: no row of the defence under {base['attack']}")
    return [*ours, *select_budgets(matching(rows, defense="none"), base, SETTINGS)]


def draw_fig4(rows: Sequence[Row], base: Mapping[str, Any]) -> Figure:
    """Draw the rows of `select_fig4`: later layers are darker."""
    ours = matching(rows, defense="knn")
    looks = looks_of(sorted(distinct(ours, "features"), key=layer_depth))

    def curves(shown: Sequence[Row]) -> list[Curve]:
        return [Curve(matching(shown, features=layer), look=look) for layer, look in looks.items()]

    return draw_by_budget(rows, base, curves, [handle(layer, **look) for layer, look in looks.items()])
