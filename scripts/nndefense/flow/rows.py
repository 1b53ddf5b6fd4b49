"""Files of answers and of result rows: one per system and pack of query sets."""

from collections.abc import Iterable

from nndefense.axes.cells import NO_DEFENSE
from nndefense.axes.queries import CLEAN, Pack
from nndefense.config import Config
from nndefense.flow.queries import (
    defense_packs,
    file_of,
    linf_packs,
    neighbor_packs,
    undefended_packs,
)

PREDICTIONS = "predictions"


def result_file(config: Config, system: str, pack: Pack, kind: str = "accuracy") -> str:
    """Rows of an evaluation kind, or the predictions, of a layer or defence on a pack."""
    suffix = "npz" if kind == PREDICTIONS else "csv"
    return f"<results>/{kind}/{config.target}/{system}/{pack}.{suffix}"


def system_files(config: Config, layers: Iterable[str], packs: Iterable[Pack], kind: str = "accuracy") -> list[str]:
    """Files of the bare network and of layers, for the packs that hold some query sets.

    The base layer comes first: it is evaluated on all pools, so their order is the configuration's.
    """
    packs = list(dict.fromkeys(file_of(config, one) for one in packs))
    layers = sorted(layers, key=lambda layer: layer != config.base.features)
    evaluated = {NO_DEFENSE: undefended_packs(config), **{layer: neighbor_packs(config, layer) for layer in layers}}
    return [
        result_file(config, system, pack, kind)
        for system in (NO_DEFENSE, *layers)
        for pack in packs
        if pack in evaluated[system]
    ]


def defense_files(config: Config, kind: str = "accuracy") -> list[str]:
    """Files of all other defences, for every pack that they are evaluated on."""
    return [
        result_file(config, defense, pack, kind)
        for defense in config.defenses
        for pack in defense_packs(config, defense)
    ]


def linf_files(config: Config, kind: str = "accuracy") -> list[str]:
    """Files of the l-infinity comparison: the bare network, and the defences beside it, clean and attacked."""
    found = [result_file(config, NO_DEFENSE, pack, kind) for pack in [CLEAN, *linf_packs(config)]]
    for defense in config.attacks.linf.defenses if config.attacks.linf else []:
        packs = [CLEAN, *linf_packs(config), *linf_packs(config, defense)]
        found += [result_file(config, defense, pack, kind) for pack in packs]
    return found


def all_files(config: Config, kind: str = "accuracy") -> list[str]:
    """Files of everything that the configuration asks for."""
    systems = system_files(config, config.features.names, undefended_packs(config), kind)
    return [*systems, *defense_files(config, kind)]
