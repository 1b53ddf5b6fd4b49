"""What figures of semantic reconstruction dictionaries have in common: accuracy by defence, names of dictionaries."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from nndefense.axes.cells import Cell
from nndefense.axes.queries import WORST
from nndefense.axes.threat import ADAPTIVE
from nndefense.core.errors import InputError
from nndefense.evaluation.intervals import wilson_interval
from nndefense.report.claims.dictionaries import GRAY, with_hardest
from nndefense.report.claims.outcomes import Outcomes
from nndefense.report.illustration import shortened
from nndefense.report.names import Params
from nndefense.report.select import Row

COLUMNS = ("defense", "setting", "attack", "epsilon", "accuracy", "ci_low", "ci_high", "n")
WHOLE = "all images"


def compared_rows(outcomes: Outcomes, fewer: Outcomes, params: Params) -> list[Row]:
    """Rows of COLUMNS: of each defence the clean accuracy, as budget 0, and that within each budget.

    Setting `gray_box` is the base attack through the target network; `adaptive` is all attacks through the defence
    itself together, and its clean accuracy that on their images.

    Args:
        outcomes: of all test images, clean and attacked in the gray box.
        fewer: the same on the images of attacks through the defences, and under these attacks.
        params: `compared` defences and `epsilons` in their order, `attack`.

    Raises:
        InputError: answers of a defence to clean images, or to those of the gray box, are missing.
    """
    found, together = [], with_hardest(fewer)
    for defense in params["compared"]:
        own = _found(outcomes, defense, GRAY, params["attack"], params["epsilons"])
        if len(own) < len(params["epsilons"]):
            raise InputError(f"comparison of defences: {defense} lacks answers to {params['attack']} in the gray box")
        through = _found(together, defense, f"{ADAPTIVE}-{defense}", WORST, params["epsilons"])
        found += _line(GRAY, [*_clean(outcomes, defense), *own], outcomes)
        # Not every attack can go through every defence.
        found += _line(ADAPTIVE, [*_clean(together, defense), *through], together) if through else []
    return found


def _found(outcomes: Outcomes, defense: str, setting: str, attack: str, epsilons: Iterable[float]) -> list[Cell]:
    wanted = [(defense, setting, attack, epsilon) for epsilon in epsilons]
    cells = {(one.defense, one.setting, one.attack, one.epsilon): one for one in outcomes}
    return [cells[one] for one in wanted if one in cells]


def _clean(outcomes: Outcomes, defense: str) -> list[Cell]:
    found = [one for one in outcomes if (one.defense, one.setting) == (defense, "clean")]
    if not found:
        raise InputError(f"comparison of defences: {defense} has no answers to the clean images")
    return found


def _line(setting: str, cells: Sequence[Cell], outcomes: Outcomes) -> list[Row]:
    rows: list[Row] = []
    for cell in cells:
        correct, n = int(np.sum(outcomes[cell])), len(outcomes[cell])
        low, high = wilson_interval(correct, n)
        values = (cell.defense, setting, cell.attack, cell.epsilon, correct / n, low, high, n)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


# -- names


def class_name(names: Sequence[str], label: int) -> str:
    """The name of a class; "class 7" where there are no names."""
    return names[label] if 0 <= label < len(names) else f"class {label}"


def dictionary_names(classes: Sequence[int], names: Sequence[str]) -> list[str]:
    """What dictionaries are called: ship, or ship (1), ship (2) where a class has several clusters; last, all images.

    Args:
        classes: (K,) of the clusters, ascending.
        names: of classes.
    """
    counts = Counter(classes)
    places: Counter[int] = Counter()
    found = []
    for label in classes:
        places[label] += 1
        found.append(class_name(names, label) + (f" ({places[label]})" if counts[label] > 1 else ""))
    return [*found, WHOLE]


def short_name(dictionary: str) -> str:
    """What a dictionary is called, the class's name shortened, but not what tells its clusters apart."""
    name, parenthesis, number = dictionary.rpartition(" (")
    return shortened(name) + parenthesis + number if name else shortened(dictionary)
