"""Which query sets a configuration asks for, and which system is evaluated on which of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import LINF, Ball
from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.axes.queries import CLEAN, WORST, Pack
from nndefense.axes.threat import ADAPTIVE, GRAY, AttackDatabase, Threat
from nndefense.config import Config
from nndefense.flow.databases import databases_of
from nndefense.flow.dictionaries import attacks_through, compared_defenses
from nndefense.flow.memo import once


def base_ball(config: Config) -> Ball:
    """The ball of tables and figures."""
    return Ball.parse(config.base.space)


def knows(attack: str) -> bool:
    """Whether an attack knows of the retrieval, so that it runs in the white box."""
    return "knowledge" in ATTACKS[attack].needs


def unaware_attacks(config: Config) -> list[str]:
    """Attacks that do not know of the retrieval."""
    return [attack for attack in config.attacks.methods if not knows(attack)]


def aware_attacks(config: Config) -> list[str]:
    """Attacks that know of the retrieval; none without attackers' databases."""
    return [attack for attack in config.attacks.methods if knows(attack)] if config.attacks.white_box else []


def _packs(config: Config, balls: Iterable[Ball], threats: Iterable[Threat], attacks: Iterable[str]) -> Iterator[Pack]:
    attacks = list(attacks)
    for ball in balls:
        for threat in threats:
            for attack in attacks:
                for epsilons in config.attacks.packs:
                    yield Pack(ball, threat, attack, epsilons)


def threats(config: Config) -> list[Threat]:
    """The threat models of attacks on a bare network."""
    return [Threat.parse(name) for name in config.attacks.settings]


def unaware_packs(config: Config) -> list[Pack]:
    """Query sets attacked through the target network and the surrogate."""
    balls = [Ball.parse(name) for name in config.attacks.spaces]
    return list(_packs(config, balls, threats(config), unaware_attacks(config)))


def aware_packs(config: Config) -> list[Pack]:
    """Query sets attacked in the white box: all budgets with the whole database, the base one with the others."""
    white_box = config.attacks.white_box
    if white_box is None:
        return []
    ball, databases = base_ball(config), databases_of(config, white_box.pool)
    found = list(_packs(config, [ball], [Threat("white_box", database=databases.whole)], aware_attacks(config)))
    return found + [
        Pack(ball, Threat("white_box", database=one), white_box.ablated, (config.base.epsilon,))
        for one in databases.attacked(white_box.sizes)
        if one != databases.whole and white_box.ablated in config.attacks.methods
    ]


def attacked_defenses(config: Config) -> list[str]:
    """Defences whose worst case is found."""
    adaptive = config.attacks.adaptive
    if adaptive is None:
        return []
    every = [NO_DEFENSE, NEIGHBORS, *listed_defenses(config)]
    return every if adaptive.defenses is None else list(adaptive.defenses)


def listed_defenses(config: Config) -> list[str]:
    """Defences besides the nearest neighbours that are no ablations of others."""
    return [name for name, one in config.defenses.items() if not one.ablation]


def through_packs(config: Config, defense: str) -> list[Pack]:
    """Query sets of every attack that goes through a defence, alone, where the configuration wants them in full.

    Those that section `dictionaries` compares defences by come with them. Through the nearest neighbours there are also
    those of an attacker who has another database, at the base budget.
    """
    adaptive, compared = config.attacks.adaptive, compared_through(config, defense)
    if adaptive is None or defense not in adaptive.full:
        return compared
    ball, threat = base_ball(config), Threat(ADAPTIVE, defense)
    found = [Pack(ball, threat, attack, epsilons) for attack in adaptive.methods for epsilons in adaptive.packs]
    if defense == NEIGHBORS:
        budget, others = (config.base.epsilon,), other_databases(config)
        found += [Pack(ball, Threat(ADAPTIVE, defense, one), adaptive.doubled, budget) for one in others]
        foreign = [one for one in others if one.overlap is not None][:1]
        found += [
            Pack(ball, Threat(ADAPTIVE, defense, one, knows), adaptive.doubled, budget)
            for knows in adaptive.knowledge
            for one in (None, *foreign)
        ]
    return list(dict.fromkeys([*found, *compared]))


def compared_through(config: Config, defense: str) -> list[Pack]:
    """Query sets of attacks through a defence that section `dictionaries` compares; none for others."""
    threat = Threat(ADAPTIVE, defense)
    return [
        Pack(base_ball(config), threat, attack, epsilons)
        for attack in attacks_through(config, defense)
        for epsilons in config.dictionaries.packs
    ]


def compared_gray(config: Config, defense: str) -> list[Pack]:
    """Query sets attacked through the target that section `dictionaries` compares a defence on; none for others.

    No query set is in two of a defence's packs: those that it is evaluated on anyhow come as they are.
    """
    if defense not in compared_defenses(config):
        return []
    wanted, found = config.dictionaries.values, []
    plain = defense in listed_defenses(config)
    anyhow = [*base_packs(config), *transfer_packs(config, defense)] if plain else []
    for attack in unaware_attacks(config):
        same = [one for one in anyhow if (one.ball, one.threat, one.attack) == (base_ball(config), GRAY, attack)]
        left = [one for one in wanted if all(one not in pack.epsilons for pack in same)]
        found += [pack for pack in same if set(pack.epsilons) & set(wanted)]
        found += [Pack(base_ball(config), GRAY, attack, epsilons) for epsilons in _together(config, left)]
    return found


def compared_packs(config: Config, defense: str) -> list[Pack]:
    """Query sets that section `dictionaries` compares a defence on, the clean one first; none for others."""
    found = [*compared_gray(config, defense), *compared_through(config, defense)]
    return [CLEAN, *found] if found else []


def other_databases(config: Config) -> list[AttackDatabase]:
    """Databases that an attacker of the nearest-neighbour defence has for the defence's own."""
    white_box, adaptive = config.attacks.white_box, config.attacks.adaptive
    if white_box is None or adaptive is None or not adaptive.databases or white_box.pool != config.base.pool:
        return []
    databases = databases_of(config, white_box.pool)
    return [one for one in databases.attacked(white_box.sizes) if one != databases.whole]


def worst_packs(config: Config, defense: str) -> list[Pack]:
    """Query sets that broke a defence, whichever attack it was; none for those whose worst case is not asked for."""
    if defense not in attacked_defenses(config):
        return []
    threat = Threat(ADAPTIVE, defense)
    return [Pack(base_ball(config), threat, WORST, epsilons) for epsilons in config.attacks.adaptive.packs]


def shown_pack(config: Config) -> Pack:
    """Attacked images of which some are shown purified."""
    return Pack(base_ball(config), GRAY, config.base.attack, (config.base.epsilon,))


def neighbor_packs(config: Config, layer: str) -> list[Pack]:
    """Query sets that a layer's nearest-neighbour defence is evaluated on.

    Those of attackers who know of the defence are on the base layer.
    """
    found = [CLEAN, *unaware_packs(config)]
    if layer == config.base.features:
        found += [*aware_packs(config), *through_packs(config, NEIGHBORS), *worst_packs(config, NEIGHBORS)]
    return found


def tried_packs(config: Config, defense: str) -> list[Pack]:
    """Attacked query sets in the base ball that a defence is evaluated on, besides its worst ones."""
    if defense == NEIGHBORS:
        packs = neighbor_packs(config, config.base.features)
    else:
        packs = undefended_packs(config) if defense == NO_DEFENSE else defense_packs(config, defense)
    own = worst_packs(config, defense)
    return [one for one in packs if one.ball == base_ball(config) and one not in own and one.attack != WORST]


def packs_under(config: Config, *attacks: str) -> list[Pack]:
    """The clean query set, and those of the named attacks in the gray and black box, in the base ball."""
    ball = base_ball(config)
    return [CLEAN, *(one for one in unaware_packs(config) if one.ball == ball and one.attack in attacks)]


def base_packs(config: Config) -> list[Pack]:
    """Query sets of Table 2: clean, and the base attack at the base budget in all threat models and pixel spaces."""
    spaces = sorted(config.attacks.spaces, key=lambda space: space != config.base.space)
    budget = (config.base.epsilon,)
    balls = map(Ball.parse, spaces)
    return [CLEAN, *(Pack(ball, threat, config.base.attack, budget) for ball in balls for threat in threats(config))]


def own_packs(config: Config, defense: str) -> list[Pack]:
    """Query sets attacked through a defence that is a network of its own, at the base values; none for the others."""
    if config.defenses[defense].model is None or "gray_box" not in config.attacks.settings:
        return []
    return [Pack(base_ball(config), Threat("gray_box", defense), config.base.attack, (config.base.epsilon,))]


def transfer_packs(config: Config, defense: str) -> list[Pack]:
    """The base attack at the budgets of the worst case besides the base one, so that every budget has its transfer."""
    if defense not in attacked_defenses(config):
        return []
    wanted = [one for one in config.attacks.adaptive.values if one != config.base.epsilon]
    groups = _together(config, wanted)
    return [
        Pack(base_ball(config), threat, config.base.attack, group) for threat in threats(config) for group in groups
    ]


def _together(config: Config, budgets: Sequence[float]) -> list[tuple[float, ...]]:
    """Budgets in groups that are made together, so that each group is in one file."""
    groups = [tuple(one for one in epsilons if one in budgets) for epsilons in config.attacks.packs]
    return [group for group in groups if group]


def linf_packs(config: Config, defense: str | None = None) -> list[Pack]:
    """Query sets within an l-infinity ball, attacked through the target network or through a defence."""
    linf = config.attacks.linf
    if linf is None:
        return []
    threat = Threat("gray_box", defense)
    return [Pack(LINF, threat, attack, epsilons) for attack in linf.methods for epsilons in linf.packs]


def defense_packs(config: Config, defense: str) -> list[Pack]:
    """Query sets that a defence without a database is evaluated on."""
    plain = [CLEAN] if config.defenses[defense].ablation else base_packs(config)
    found = [*plain, *own_packs(config, defense), *compared_gray(config, defense)]
    found += [*transfer_packs(config, defense), *through_packs(config, defense), *worst_packs(config, defense)]
    if config.attacks.linf and defense in config.attacks.linf.defenses:
        found += [*linf_packs(config), *linf_packs(config, defense)]
    return list(dict.fromkeys(found))


def undefended_packs(config: Config) -> list[Pack]:
    """Query sets that the bare network is evaluated on."""
    own = [*through_packs(config, NO_DEFENSE), *worst_packs(config, NO_DEFENSE)]
    return [*neighbor_packs(config, config.base.features), *own, *linf_packs(config)]


@once
def made_packs(config: Config) -> list[Pack]:
    """Every pack that is a file of attacked images."""
    own = [one for defense in config.defenses for one in own_packs(config, defense)]
    for defense in (NO_DEFENSE, NEIGHBORS, *config.defenses):
        own += [*through_packs(config, defense), *worst_packs(config, defense)]
    linf = config.attacks.linf.defenses if config.attacks.linf else []
    found = [*unaware_packs(config), *aware_packs(config), *own, *linf_packs(config)]
    return list(dict.fromkeys([*found, *(one for defense in linf for one in linf_packs(config, defense))]))


def file_of(config: Config, pack: Pack) -> Pack:
    """The pack whose file holds a pack's images: itself, or one of more budgets."""
    wanted = (pack.ball, pack.threat, pack.attack)
    for one in [CLEAN, *made_packs(config)]:
        if (one.ball, one.threat, one.attack) == wanted and set(pack.epsilons) <= set(one.epsilons):
            return one
    return pack


def method_options(config: Config, ball: Ball, threat: Threat, attack: str) -> dict[str, Any]:
    """Options of an attack within a ball, in a threat model."""
    attacks = config.attacks
    methods = attacks.linf.methods if ball == LINF and attacks.linf else attacks.methods
    if threat.box == ADAPTIVE and attacks.adaptive:
        through = config.dictionaries.attacks if config.dictionaries else {}
        methods = attacks.adaptive.methods if attack in attacks.adaptive.methods else through
    return methods[attack].model_dump() if attack in methods else {}


def attacked_defense(config: Config, threat: Threat) -> str | None:
    """The defence that an attack goes through; None for a bare network.

    In the gray box a defence that is a network of its own is attacked as one, as the papers do: what it looks up is
    constant.
    """
    defense = threat.defense
    own = defense in config.defenses and config.defenses[defense].model is not None
    return None if threat.box == "gray_box" and own else defense


def attacked_model(config: Config, threat: Threat) -> str:
    """The network whose gradients an attack follows."""
    if threat.knows == "nothing":
        return config.surrogate
    if threat.defense in config.defenses:
        return config.defenses[threat.defense].model or config.target
    return config.surrogate if threat.box == "black_box" else config.target
