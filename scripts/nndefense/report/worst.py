"""What tables, figures and the card tell of the worst case: rows of a defence, what each attack did, and alarms.

Rows are those of the summaries `accuracy_worst` and `attack_breaks`; reports are those of `attack_defense`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nndefense.axes.cells import NEIGHBORS
from nndefense.axes.queries import WORST
from nndefense.axes.threat import ADAPTIVE, Threat
from nndefense.core.files import read_json
from nndefense.evaluation.rows import read_rows
from nndefense.evaluation.worst import BREAKS, WORST_CASE
from nndefense.report.names import SETTING_NAMES, Params, attack_name
from nndefense.report.select import Row, Rows, matching

# A worst case that doubling the steps moves by so much has not been found yet; likewise what only queries find.
POINT = 0.01
KNOWN = {"features": "the features known", "nothing": "no weights known"}
Report = Mapping[str, Any]
FIXED = ("pool", "features", "neighbors", "weighting", "combination")


def read_worst(paths: Sequence[str]) -> list[Row]:
    """Rows of `accuracy_worst`, one file after the other."""
    return [row for path in paths for row in read_rows(path, WORST_CASE)]


def as_setting(rows: Rows, params: Params) -> list[Row]:
    """Worst cases as accuracy rows of a setting of their own, with the name of the strongest attack as `by`."""
    return [{**row, "setting": WORST, "by": strongest_name(row, params)} for row in rows]


def read_breaks(paths: Sequence[str]) -> list[Row]:
    """Rows of `attack_breaks`, one file after the other."""
    return [row for path in paths for row in read_rows(path, BREAKS)]


def read_reports(paths: Sequence[str]) -> dict[str, list[Report]]:
    """Reports by defence, those of one defence in the order of their files."""
    found: dict[str, list[Report]] = {}
    for path in paths:
        report = read_json(path)
        found.setdefault(report["threat"].removeprefix(f"{ADAPTIVE}-"), []).append(report)
    return found


def deployed(rows: Rows, params: Params) -> list[Row]:
    """Rows of the systems that were attacked: nearest neighbours at the base values, with the largest database."""
    ours = matching(rows, defense=NEIGHBORS, **{axis: params[axis] for axis in FIXED})
    size = max((row["size"] for row in ours), default=0)
    return [row for row in rows if row["defense"] != NEIGHBORS or (row in ours and row["size"] == size)]


def strongest_name(row: Row, params: Params) -> str:
    """The attack that broke most alone, e.g. Soft retrieval, through the defence."""
    setting, _, attack = row["strongest"].partition("/")
    return attack_text(setting, attack, params)


def attack_text(setting: str, attack: str, params: Params) -> str:
    """An attack and what it knows, in words."""
    if setting == "clean":
        return "none"
    threat = Threat.parse(setting)
    where = [SETTING_NAMES.get(threat.box, threat.box).lower()]
    if threat.box == ADAPTIVE:
        where = ["through the defence"]
        where += [f"with {threat.database}"] if threat.database else []
        where += [KNOWN[threat.knows]] if threat.knows else []
    return ", ".join([attack_name(attack, params), *where])


def stages_of(reports: Sequence[Report], epsilon: float) -> list[Mapping[str, Any]]:
    """What each attack of the cascade did within a budget."""
    return [stage for report in reports for stage in report["stages"] if stage["epsilon"] == epsilon]


def alarms(reports: Sequence[Report], epsilon: float, alone: Mapping[str, float]) -> list[str]:
    """Why a worst case within a budget is void; nothing where it is not.

    Args:
        reports: of the defence.
        epsilon: the budget.
        alone: accuracy under each attack through the defence alone, by name, where it is known.
    """
    found, stages = [], stages_of(reports, epsilon)
    images = max((report["images"] for report in reports), default=1)
    for report in reports:
        found += [
            f"twice the steps break {100 * share['moved']:.1f} points more"
            for share in report["shares"]
            if share["epsilon"] == epsilon and share["moved"] >= POINT
        ]
        sanity, chance = report["sanity"], 1 / report["classes"]
        if sanity["share"] > chance:
            found.append(f"{sanity['share']:.3f} hold within {sanity['epsilon']:g}, chance is {chance:.3f}")
    if stuck := max((stage["stuck"] for stage in stages if stage["attack"] != "square"), default=0):
        found.append(f"no gradient for {stuck} of {images} images")
    white = [value for name, value in alone.items() if name not in ("square", "noise")]
    if "square" in alone and white and alone["square"] < min(white) - 0.002:
        found.append("queries alone break more than gradients")
    queried = sum(stage["broke"] for stage in stages if stage["attack"] == "square")
    if queried >= POINT * images:
        found.append(f"queries break {queried} images that gradients do not")
    return found


def attackers_of(breaks: Rows, params: Params) -> list[Row]:
    """Attackers of the nearest neighbours who differ in what they have: rows of one attack alone, by setting.

    Within the budget of those who have another database or other weights, the one who has the defence's own first.
    """
    # The bare network answers these images, too.
    ours = matching(deployed(breaks, params), defense=NEIGHBORS)
    ours = [row for row in ours if row["setting"].startswith(f"{ADAPTIVE}-{NEIGHBORS}")]
    others = [row for row in ours if row["setting"] != f"{ADAPTIVE}-{NEIGHBORS}"]
    if not others:
        return []
    attack, epsilon = others[0]["attack"], min(row["epsilon"] for row in others)
    found = matching(ours, attack=attack, epsilon=epsilon)
    return sorted(found, key=lambda row: row in others)


def alone_of(breaks: Rows, row: Row) -> dict[str, Row]:
    """Attacks through the defence that were run on all images, by name: their rows within a worst case's budget."""
    own = [one for one in breaks if all(one[axis] == row[axis] for axis in (*FIXED, "size", "defense", "epsilon"))]
    return {one["attack"]: one for one in own if one["setting"] == f"{ADAPTIVE}-{row['defense']}"}
