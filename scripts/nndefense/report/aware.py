"""Rows of attacks that know of the defence: what Figure 6 shows, and what claims on it are judged on.

`params["white_box"]` holds the attacked pool, the attacks that know of the defence, and those that are run with every
attacker's database (`ablated`); `through`, the attacks that go through the defence.
"""

from nndefense.axes.cells import NEIGHBORS
from nndefense.axes.threat import ADAPTIVE, KNOWS, AttackDatabase
from nndefense.report.names import Params, attack_database
from nndefense.report.select import Row, Rows, defended, distinct, matching

THROUGH = f"{ADAPTIVE}-{NEIGHBORS}"


def defense_rows(rows: Rows, params: Params) -> list[Row]:
    """Rows of the base defence on the attacked pool's largest database: clean, base attack, defence-aware attacks."""
    if not params["white_box"]:
        return []
    pool = params["white_box"]["pool"]
    ours = matching(defended(rows, params, "features", "neighbors", "weighting", "combination"), pool=pool)
    ours = [row for row in ours if row["setting"] == "clean" or row["space"] == params["space"]]
    if not any(attack_database(row["setting"]) for row in ours):
        return []
    # The defence is held fixed: the largest database that an attacker has in full, else the largest of all.
    full = [row["size"] for row in ours if _reach(row) == (row["size"], 1.0)]
    return matching(ours, size=max(full or distinct(ours, "size")))


def _reach(row: Row) -> tuple[int, float] | None:
    """(size, overlap) of a row's attack database within its own pool; a prefix of the defence overlaps fully."""
    database = _database(row)
    if database is None or database.pool != row["pool"]:
        return None
    return database.size, 1.0 if database.overlap is None else database.overlap


def _database(row: Row) -> AttackDatabase | None:
    """The attacker's database: attacks through the defence that name none have the defence's own."""
    if row["setting"] == THROUGH:
        return AttackDatabase(row["pool"], row["size"])
    return attack_database(row["setting"])


def by_attack(ours: Rows, params: Params) -> dict[str, list[Row]]:
    """Panel a: rows by attack; the defence-aware ones have the defence database itself."""
    curves = {params["attack"]: matching(ours, setting="gray_box", attack=params["attack"])}
    for attack in params["white_box"]["attacks"]:
        found = [row for row in matching(ours, attack=attack) if _reach(row) == (row["size"], 1.0)]
        # An overlap of 1 is the defence database again.
        curves[attack] = list({row["epsilon"]: row for row in reversed(found)}.values())[::-1]
    return {attack: found for attack, found in curves.items() if found}


def by_attack_through(ours: Rows, params: Params) -> dict[str, list[Row]]:
    """Panel d: rows by attack through the defence, whose attacker has the defence's own database."""
    found = {attack: matching(ours, setting=THROUGH, attack=attack) for attack in params["white_box"]["through"]}
    return {attack: rows for attack, rows in found.items() if rows}


def by_attack_size(ours: Rows, params: Params) -> list[Row]:
    """Panel b: rows of the ablated attacks with an `attack_size`, for budgets with more than one size."""
    found = [
        {**row, "attack_size": database.size}
        for row in _ablated(ours, params)
        if (database := _database(row))
        and (database.pool, database.overlap) == (row["pool"], None)
        and database.size <= row["size"]
    ]
    return _with_curves(found, "attack_size")


def by_overlap(ours: Rows, params: Params) -> list[Row]:
    """Panel c: rows of the ablated attacks with an `overlap`, of databases of one size, for budgets with several."""
    found: dict[tuple[str, float, float], Row] = {}
    for row in _ablated(ours, params):
        reach = _reach(row)
        if reach and reach[0] == row["size"]:
            # The defence database itself and an overlap of 1 are the same images: one of them is drawn.
            found.setdefault((row["attack"], row["epsilon"], reach[1]), {**row, "overlap": reach[1]})
    return _with_curves(list(found.values()), "overlap")


def _with_curves(rows: Rows, axis: str) -> list[Row]:
    """Rows of attacks and budgets that have more than one value of `axis`: a single point would be no curve."""
    return [
        row for row in rows if len(distinct(matching(rows, attack=row["attack"], epsilon=row["epsilon"]), axis)) > 1
    ]


def _ablated(ours: Rows, params: Params) -> list[Row]:
    rows = [row for attack in params["white_box"]["ablated"] for row in matching(ours, attack=attack)]
    return [row for row in rows if KNOWS not in row["setting"]]
