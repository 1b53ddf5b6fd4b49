"""Names and numbers as tables and figures print them; labels of attacks and defences come with the parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nndefense.axes.threat import AttackDatabase, Threat
from nndefense.core.errors import ConfigError
from nndefense.core.files import read_json
from nndefense.core.text import one_line

SETTING_NAMES = {
    "clean": "Clean",
    "gray_box": "Gray box",
    "black_box": "Black box",
    "white_box": "White box",
    "worst": "Worst case",
}
BOTH = ("gray_box", "black_box")

Params = Mapping[str, Any]


def attack_database(setting: str) -> AttackDatabase | None:
    """The database of a white-box attacker; None for any other setting."""
    try:
        return Threat.parse(setting).database
    except ConfigError:
        return None


def setting_name(setting: str) -> str:
    """gray_box -> Gray box, white_box-Targeted-8000 -> White box (Targeted-8k)."""
    database = attack_database(setting)
    if database is None:
        return SETTING_NAMES.get(setting, setting)
    share = "" if database.overlap is None else f", overlap {database.overlap:g}"
    return f"{SETTING_NAMES['white_box']} ({database.pool}-{thousands(database.size)}{share})"


def attack_name(attack: str, params: Params) -> str:
    """The label of an attack in `params["attack_labels"]`; without one, its name in capitals."""
    return one_line(params.get("attack_labels", {}).get(attack, attack.upper()))


def defense_name(defense: str, params: Params) -> str:
    """The label of a defence in `params["defense_labels"]`; without one, its name with its words apart."""
    return one_line(params.get("defense_labels", {}).get(defense, defense.replace("_", " ")))


def class_names(path: str | Path) -> list[str]:
    """Names of the classes of an image set, each on one line; path: its set.json."""
    return [one_line(name) for name in read_json(path)["class_names"]]


def thousands(number: float) -> str:
    """500 -> 500, 2000 -> 2k, 1500000 -> 1.5M."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"
