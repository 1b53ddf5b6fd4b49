"""What a configuration gives the table of semantic reconstruction dictionaries, and claims about them.

Functions as those in `sources`: they are named by pieces, not imported, so no job depends on the code here.
"""

from typing import Any

from nndefense.axes.cells import PREDICTIONS
from nndefense.config import Config
from nndefense.config.checks_dictionaries import PURIFIER
from nndefense.config.defenses import OWN_NETWORK
from nndefense.defenses import DEFENSES
from nndefense.flow.dictionaries import compared_defenses, dictionary_model, tuned_by, tuned_file
from nndefense.flow.queries import compared_packs, compared_through, file_of, unaware_attacks
from nndefense.flow.rows import answer_file, is_adaptive
from nndefense.report.piece import Inputs, Piece

RESAMPLES = 4000


def resampling(config: Config) -> dict[str, Any]:
    """What a bootstrap over the test images is given: where answers lie, the seed, the number of resamples."""
    root = "/".join(part for part in ("results", config.run, PREDICTIONS, config.target) if part)
    return {"resamples": RESAMPLES, "root": root, "seed": config.seed}


def table(config: Config, piece: Piece) -> Inputs | None:
    """Answers of the compared defences to clean and attacked images, and what was chosen for those that are tuned."""
    section, compared = config.dictionaries, compared_defenses(config)
    if section is None:
        return None
    takers: dict[str, list[str]] = {}
    for name in compared:
        if source := tuned_by(config, name):
            takers.setdefault(source, []).append(name)
    files = {
        PREDICTIONS: _answers(config, adaptive=False),
        "through": _answers(config, adaptive=True),
        "tuned": [tuned_file(name) for name in takers],
    }
    unaware, through = unaware_attacks(config), list(section.attacks)
    values = {
        "attacks": unaware,
        "compared": compared,
        "dataset": config.dataset,
        "epsilons": section.values,
        "foreign": [name for name in section.table if _asked(config, name) != config.target],
        "model": config.target,
        "reference": section.shown,
        # A list, too: mappings come sorted to the job.
        "takers": list(takers.values()),
        "through": through,
        "tuned": list(takers),
    }
    labelled = list(dict.fromkeys([*section.table, *takers, section.shown]))
    given = {role: paths for role, paths in files.items() if paths}
    return Inputs(given, values | resampling(config), [*unaware, *through], labelled)


def _answers(config: Config, *, adaptive: bool) -> list[str]:
    """Files of answers to images that were attacked through the defences, or to all others."""
    found = []
    for name in compared_defenses(config):
        packs = [pack for pack in compared_packs(config, name) if is_adaptive(pack) == adaptive]
        own = packs if name in config.defenses else [file_of(config, pack) for pack in packs]
        found += [answer_file(config, name, pack) for pack in own]
    return list(dict.fromkeys(found))


def _asked(config: Config, defense: str) -> str:
    """The network that a defence asks."""
    return config.defenses[defense].model or config.target


def judged_dictionaries(config: Config) -> Inputs:
    """What claims about dictionaries are judged on: answers to attacks through the reference; nothing without any."""
    section = config.dictionaries
    if section is None:
        return Inputs({})
    files = [answer_file(config, section.shown, pack) for pack in compared_through(config, section.shown)]
    values = {
        "behind": _behind(config),
        "choices": _choices(config),
        "purifiers": [name for name in config.defenses if _purifies(config, name)],
        "reference": section.shown,
        "robust": _robust(config),
    }
    return Inputs({"through": files}, {"dictionaries": values})


def _purifies(config: Config, name: str) -> bool:
    """Whether a defence changes the images of the target itself, and not by dictionaries."""
    kind, own = config.defenses[name].kind, _asked(config, name)
    return kind != PURIFIER and DEFENSES[kind].target not in OWN_NETWORK and own == config.target


def _behind(config: Config) -> list[list[str]]:
    """Dictionaries before another network than the target, each with that network alone."""
    alone: dict[str, str] = {}
    for name, one in config.defenses.items():
        if DEFENSES[one.kind].target in OWN_NETWORK:
            alone.setdefault(_asked(config, name), name)
    asked = {name: _asked(config, name) for name, one in config.defenses.items() if one.kind == PURIFIER}
    return [[name, alone[model]] for name, model in asked.items() if model != config.target and model in alone]


def _choices(config: Config) -> dict[str, list[str]]:
    """Defences that differ from the reference in what chooses the dictionary alone, by their choice."""
    reference = config.dictionaries.shown
    found: dict[str, list[str]] = {"oracle": [], "random": [], "whole": []}
    if config.defenses[reference].choice == "nearest":
        for name, one in config.defenses.items():
            if one.kind == PURIFIER and one.choice in found and _alike(config, name, reference):
                found[one.choice].append(name)
    return found


def _robust(config: Config) -> list[list[str]]:
    """Dictionaries that another network than the clusters' own chooses, each with those that this one chooses."""
    nearest = {
        name: one.chooser or dictionary_model(config)
        for name, one in config.defenses.items()
        if one.kind == PURIFIER and one.choice == "nearest"
    }
    clean = [name for name, chooser in nearest.items() if chooser == dictionary_model(config)]
    return [
        [name, same[0]]
        for name in nearest
        if name not in clean and (same := [other for other in clean if _alike(config, name, other)])
    ]


def _alike(config: Config, one: str, other: str) -> bool:
    """Whether two defences by dictionaries differ in what chooses the dictionary alone."""

    def rest(name: str) -> tuple[Any, ...]:
        options = {**config.defenses[name].options, "choice": None}
        return _asked(config, name), options, tuned_by(config, name) is None

    return rest(one) == rest(other)
