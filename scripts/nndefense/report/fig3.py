"""Figures 3, 7 and 8: accuracy against the budget, a line per number of neighbours K and size, black box."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

from matplotlib.figure import Figure

from nndefense.errors import InputError
from nndefense.report.curves import Curve, draw_by_budget, handle, looks_of, select_budgets
from nndefense.report.names import thousands
from nndefense.report.select import Row, defended, distinct, main_pool, matching

SETTING = "black_box"
RATIO = 10  # 1B and 100M images in the paper


def two_sizes(rows: Sequence[Row]) -> list[int]:
    """The largest size and the one nearest to a tenth of it; only the largest where there is no other."""
    first, *others = sorted(distinct(rows, "size"), reverse=True)
    return [first, *sorted(others, key=lambda size: abs(log(first / size / RATIO)))[:1]]


def select_fig3(rows: Sequence[Row], base: Mapping[str, Any]) -> list[Row]:
    """Rows that the figure shows: all K in the two databases, and the model without a defence."""
    ours = select_budgets(defended(rows, base, "features", "weighting", "combination"), base, [SETTING])
    ours = matching(ours, pool=main_pool(ours)) if ours else []
    if not matching(ours, setting=SETTING):
        raise InputError(f"figure 3: no row of the defence under {base['attack']} in the black-box setting")
    sizes = two_sizes(ours)
    return [
        *(row for row in ours if row["size"] in sizes),
        *select_budgets(matching(rows, defense="none"), base, [SETTING]),
    ]


def draw_fig3(rows: Sequence[Row], base: Mapping[str, Any]) -> Figure:
    """Draw the rows of `select_fig3`: the larger database solid, the smaller one dashed."""
    ours = matching(rows, defense="knn")
    sizes = sorted(distinct(ours, "size"), reverse=True)
    # Hollow markers, so that the databases can be told apart where dashes are short.
    styles = dict(zip(sizes, ({"linestyle": "-"}, {"linestyle": "--", "mfc": "white"}), strict=False))
    looks = looks_of(sorted(distinct(ours, "neighbors")))

    def curves(shown: Sequence[Row]) -> list[Curve]:
        return [
            Curve(matching(shown, neighbors=k, size=size), look=look | styles[size])
            for size in reversed(sizes)
            for k, look in looks.items()
        ]

    handles = [handle(f"K = {k}", **look) for k, look in looks.items()]
    pool = main_pool(rows)
    handles += [handle(f"{pool}-{thousands(size)}", color="0.3", marker="o", **styles[size]) for size in sizes]
    return draw_by_budget(rows, base, curves, handles)
