"""Files of answers and of result rows: one per system and pack of query sets."""

from collections.abc import Iterable

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE, PREDICTIONS
from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import ADAPTIVE
from nndefense.config import Config
from nndefense.flow.queries import (
    attacked_defenses,
    defense_packs,
    file_of,
    linf_packs,
    neighbor_packs,
    tried_packs,
    undefended_packs,
    worst_packs,
)


def answer_file(config: Config, system: str, pack: Pack) -> str:
    """Answers of a layer or defence to a pack; result rows are measured on them."""
    return f"<results>/{PREDICTIONS}/{config.target}/{system}/{pack}.npz"


def system_files(config: Config, layers: Iterable[str], packs: Iterable[Pack]) -> list[str]:
    """Files of the bare network and of layers, for the packs that hold some query sets.

    The base layer comes first: it is evaluated on all pools, so their order is the configuration's.
    """
    packs = list(dict.fromkeys(file_of(config, one) for one in packs))
    layers = sorted(layers, key=lambda layer: layer != config.base.features)
    evaluated = {NO_DEFENSE: undefended_packs(config), **{layer: neighbor_packs(config, layer) for layer in layers}}
    return [
        answer_file(config, system, pack)
        for system in (NO_DEFENSE, *layers)
        for pack in packs
        if pack in evaluated[system]
    ]


def defense_files(config: Config, *, adaptive: bool = True) -> list[str]:
    """Files of all other defences for every pack that they are evaluated on, or all but those of adaptive attackers."""
    return [
        answer_file(config, defense, pack)
        for defense in config.defenses
        for pack in defense_packs(config, defense)
        if adaptive or not is_adaptive(pack)
    ]


def linf_files(config: Config) -> list[str]:
    """Files of the l-infinity comparison: the bare network, and the defences beside it, clean and attacked."""
    found = [answer_file(config, NO_DEFENSE, pack) for pack in [CLEAN, *linf_packs(config)]]
    for defense in config.attacks.linf.defenses if config.attacks.linf else []:
        packs = [CLEAN, *linf_packs(config), *linf_packs(config, defense)]
        found += [answer_file(config, defense, pack) for pack in packs]
    return found


def all_files(config: Config, *, adaptive: bool = True) -> list[str]:
    """Files of everything that the configuration asks for, or all but those of adaptive attackers."""
    packs = [pack for pack in undefended_packs(config) if adaptive or not is_adaptive(pack)]
    systems = system_files(config, config.features.names, packs)
    return [*systems, *defense_files(config, adaptive=adaptive)]


def is_adaptive(pack: Pack) -> bool:
    """Whether a pack's images were attacked through a defence: they are some of the test images only."""
    return pack.threat is not None and pack.threat.box == ADAPTIVE


def system_answers(config: Config, system: str) -> list[str]:
    """Answers of a layer or defence to everything that it is tried on in the base ball, the worst case last."""
    defense = NEIGHBORS if system == config.base.features else system
    packs = [CLEAN, *tried_packs(config, defense), *worst_packs(config, defense)]
    files = dict.fromkeys(file_of(config, pack) if system not in config.defenses else pack for pack in packs)
    return [answer_file(config, system, pack) for pack in files]


def summary_files(config: Config, summary: str) -> list[str]:
    """Rows of a summary, of every defence whose worst case is found."""
    return [summary_file(config, summary, one) for one in attacked_defenses(config)]


def summary_file(config: Config, summary: str, defense: str) -> str:
    """Rows of a summary of a defence; the nearest neighbours' stand by the base layer."""
    system = config.base.features if defense == NEIGHBORS else defense
    return f"<results>/{summary}/{config.target}/{system}.csv"
