"""What a configuration gives figures of semantic reconstruction dictionaries: functions as those in `sources`.

They are named by pieces, not imported: no job depends on the code here.
"""

from nndefense.axes.cells import PREDICTIONS
from nndefense.axes.queries import NO_ATTACK
from nndefense.config import Config
from nndefense.evaluation.outcomes import place_of
from nndefense.flow.dictionaries import CENTRAL, CLUSTERS, DICTIONARIES, PURIFIED
from nndefense.flow.queries import shown_pack
from nndefense.report.dictionary_sources import table
from nndefense.report.piece import Inputs, Piece


def figure(config: Config, piece: Piece) -> Inputs | None:
    """Answers of the compared defences under the base attack and those through them, and some purified images."""
    section, compared = config.dictionaries, table(config, piece)
    if compared is None:
        return None
    answers = {role: compared.files[role] for role in (PREDICTIONS, "through") if role in compared.files}
    answers[PREDICTIONS] = [path for path in answers[PREDICTIONS] if _base_or_clean(config, path)]
    pictures = {"purified": [PURIFIED], "clusters": [CLUSTERS], "task": [_described(config.queries.images)]}
    values = {name: compared.values[name] for name in ("compared", "epsilons", "root")}
    # As they are purified: of the base attack at the base budget.
    values |= {"shown": section.shown, "images": str(shown_pack(config)), "model": config.target}
    labelled = list(dict.fromkeys([*section.table, section.shown]))
    return Inputs(answers | pictures, values, defenses=labelled)


def _base_or_clean(config: Config, path: str) -> bool:
    _, pack = place_of(path, f"<results>/{PREDICTIONS}/{config.target}")
    return pack.attack in (NO_ATTACK, config.base.attack)


def _described(images: str) -> str:
    return f"<results>/images/{images}/set.json"


def clusters(config: Config, piece: Piece) -> Inputs | None:
    """Clusters of all classes, and their most central images."""
    section = config.dictionaries
    if section is None:
        return None
    files = {"clusters": [CLUSTERS], "central": [CENTRAL], "learnt": [_described(section.images)]}
    how = section.clusters
    return Inputs(files, {"criterion": how.criterion, "least": how.least_silhouette})


def filters(config: Config, piece: Piece) -> Inputs | None:
    """Dictionaries of all clusters."""
    section = config.dictionaries
    if section is None:
        return None
    files = {"dictionaries": [DICTIONARIES], "clusters": [CLUSTERS], "learnt": [_described(section.images)]}
    return Inputs(files)
