"""Claims of the paper about attackers who know of the defence (Dubey et al. 2019, §6), tried by attacks through it.

Judged on the images that these attacks were run on.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nndefense.evaluation.base import Answers
from nndefense.report.aware import THROUGH, by_attack, by_attack_through, by_overlap, defense_rows
from nndefense.report.claims.effects import minus, one
from nndefense.report.claims.judge import Claim, Comparison
from nndefense.report.claims.outcomes import Outcomes, outcomes_of
from nndefense.report.claims.tables import AT_LEAST, POSITIVE
from nndefense.report.names import Params, attack_name
from nndefense.report.select import Row, distinct, matching


def plain_minus_through(rows: list[Row], params: Params) -> list[Comparison]:
    """The base attack, which does not know of the defence, minus each attack through it with its own database."""
    ours = defense_rows(rows, params)
    if not ours:
        return []
    plain, found = by_attack(ours, params).get(params["attack"], []), []
    for attack, line in by_attack_through(ours, params).items():
        for row in line:
            label = f"{_names(params['attack'], attack, params)}, Δ = {row['epsilon']:g}"
            found += minus(label, one(plain, epsilon=row["epsilon"]), row)
    return found


def foreign_minus_plain(rows: list[Row], params: Params) -> list[Comparison]:
    """Attacks through a defence with the least overlapping database, minus the base attack, which knows of none."""
    ours = defense_rows(rows, params)
    if not ours:
        return []
    plain = by_attack(ours, params).get(params["attack"], [])
    ablated = [row for row in by_overlap(ours, params) if row["setting"].startswith(THROUGH)]
    least = min(distinct(ablated, "overlap"), default=1.0)
    found = []
    for row in matching(ablated, overlap=least) if least < 1 else []:
        names = _names(row["attack"], params["attack"], params)
        label = f"{names}, overlap {least:g}, Δ = {row['epsilon']:g}"
        found += minus(label, row, one(plain, epsilon=row["epsilon"]))
    return found


def _names(first: str, second: str, params: Params) -> str:
    return f"{attack_name(first, params)} minus {attack_name(second, params)}"


def outcomes_on(answers: Iterable[Answers], through: Sequence[Answers], params: Params) -> Outcomes:
    """Correctness by cell of all answers, on the images that attacks through the defence were run on.

    Args:
        answers: to other query sets, which hold these images.
        through: to the query sets of these attacks, all of the same images.
        params: as of `outcomes_of`.
    """
    if not through:
        return {}
    rows = {row: place for place, row in enumerate(through[0].rows.tolist())}
    kept = [_restricted(one, rows) for one in answers]
    return outcomes_of([*kept, *through], params)


def _restricted(answers: Answers, rows: dict[int, int]) -> Answers:
    places = sorted((rows[row], place) for place, row in enumerate(answers.rows.tolist()) if row in rows)
    chosen = np.array([place for _, place in places], dtype=np.int64)
    values: dict[str, Any] = {name: getattr(answers, name)[chosen] for name in ("classes", "labels", "rows", "delta")}
    return Answers(answers.cell, **values)


ADAPTIVE_CLAIMS = (
    Claim(
        "F6d.breaks_in_white_box",
        "Figure 6, §6.2",
        "An attacker who knows the defence and has its database breaks it.",
        "accuracy under the base attack in the gray box minus under an attack through the defence",
        POSITIVE,
        plain_minus_through,
    ),
    Claim(
        "F6d.holds_with_another_database",
        "Figure 6(c), §6.2",
        "The defence holds where the attacker's database is another.",
        "accuracy under an attack through a disjoint database minus under the base attack in the gray box",
        AT_LEAST,
        foreign_minus_plain,
    ),
)
