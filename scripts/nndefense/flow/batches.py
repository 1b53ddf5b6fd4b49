"""Packs of query sets that the same jobs put through a network, a search, votes or a defence.

A pack stays a file of its own. What a job takes together is derived from the configuration alone: attacks that
`attacks.together` lists together, at budgets that stand in one list, in one ball and from one attacker's database. So
an attack, a budget or a database that is added is a batch of its own, and the files of others stay as they are. The
clean images are a batch, too: attackers need their neighbours before there is any attacked image.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nndefense.axes.ball import LINF
from nndefense.axes.cells import NO_DEFENSE
from nndefense.axes.numbers import number_text
from nndefense.axes.queries import CLEAN, WORST, Pack
from nndefense.axes.threat import ADAPTIVE
from nndefense.config import Config
from nndefense.flow.databases import databases_of
from nndefense.flow.queries import base_ball, defense_packs, neighbor_packs, unaware_packs, undefended_packs

Key = tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """Packs that are handled together.

    Attributes:
        word: its name, within those of rules and logs.
        packs: in the order of the configuration.
        systems: layers or defences that answer exactly these packs, where that is asked.
    """

    word: str
    packs: tuple[Pack, ...]
    systems: tuple[str, ...] = ()


def batches(config: Config, packs: Iterable[Pack]) -> list[Batch]:
    """Packs as batches, in the order of their first packs."""
    found: dict[Key, list[Pack]] = {}
    for pack in packs:
        found.setdefault(_key(config, pack), []).append(pack)
    return [Batch(re.sub(r"\W+", "_", "_".join(filter(None, key))), tuple(own)) for key, own in found.items()]


def searched_batches(config: Config) -> list[Batch]:
    """Batches of everything that is put through the target, with the layers that search them; each pack is in one.

    What only the base layer searches stands apart, also where it is attacked together with what all layers do.
    """
    base, layers = config.base.features, tuple(config.features.names)
    shared = [CLEAN, *unaware_packs(config)]
    found = [replace(one, systems=layers) for one in batches(config, shared)]
    words = {one.word for one in found}
    own = batches(config, [pack for pack in neighbor_packs(config, base) if pack not in shared])
    for one in own:
        word = f"{one.word}_own" if one.word in words else one.word
        found.append(Batch(word, one.packs, (base,)))
    return found


def answered_batches(config: Config) -> list[Batch]:
    """Batches that the bare network and all other defences answer, with those that answer exactly these packs."""
    systems = {NO_DEFENSE: undefended_packs(config)}
    return _by_system(config, systems | {name: defense_packs(config, name) for name in config.defenses})


def _by_system(config: Config, systems: Mapping[str, Sequence[Pack]]) -> list[Batch]:
    """Batches that several systems share once, with their systems; words of different batches differ."""
    found: dict[tuple[Pack, ...], list[str]] = {}
    words = {}
    for system, packs in systems.items():
        for one in batches(config, packs):
            found.setdefault(one.packs, []).append(system)
            words[one.packs] = one.word
    plain = list(words.values())
    return [
        Batch(words[packs] if plain.count(words[packs]) == 1 else f"{words[packs]}_{own[0]}", packs, tuple(own))
        for packs, own in found.items()
    ]


def _key(config: Config, pack: Pack) -> Key:
    """What packs of a batch have in common; its parts that are no default make the batch's word."""
    if pack.ball is None:
        return (str(pack),)
    ball = "" if pack.ball == base_ball(config) else str(pack.ball)
    return _group(config, pack), ball, _budgets(config, pack), _database(config, pack)


def _group(config: Config, pack: Pack) -> str:
    """The first of the attacks that share jobs; one that stands alone does so in each section."""
    attacks, own = config.attacks, pack.attack
    through = f"{own}_through" if pack.threat.box == ADAPTIVE and own in attacks.methods else own
    return next((one[0] for one in attacks.together if own in one), through)


def _budgets(config: Config, pack: Pack) -> str:
    """The list of budgets that a pack's stand in: nothing for the first one."""
    groups = _groups(config, pack)
    place = next((place for place, one in enumerate(groups) if pack.epsilons[0] in one), 0)
    return "eps_" + "_".join(map(number_text, groups[place])) if place else ""


def _groups(config: Config, pack: Pack) -> list[tuple[float, ...]]:
    """Lists of budgets of the section that an attack stands in."""
    attacks = config.attacks
    if pack.ball == LINF and attacks.linf:
        return attacks.linf.packs
    if pack.threat.box == ADAPTIVE:
        own = attacks.adaptive and (pack.attack in attacks.adaptive.methods or pack.attack == WORST)
        return attacks.adaptive.packs if own else config.dictionaries.packs
    return attacks.packs


def _database(config: Config, pack: Pack) -> str:
    """An attacker's database that is not the defence's own."""
    database = pack.threat.database
    whole = database is None or database == databases_of(config, database.pool).whole
    return "" if whole else str(database)
