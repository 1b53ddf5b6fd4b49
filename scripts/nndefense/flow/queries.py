"""Which query sets a configuration asks for, and which system is evaluated on which of them."""

from collections.abc import Iterable, Iterator

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import LINF, Ball
from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import Threat
from nndefense.config import Config
from nndefense.flow.databases import databases_of


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


def neighbor_packs(config: Config, layer: str) -> list[Pack]:
    """Query sets that a layer's nearest-neighbour defence is evaluated on; white-box attacks are on the base layer."""
    aware = aware_packs(config) if layer == config.base.features else []
    return [CLEAN, *unaware_packs(config), *aware]


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


def linf_packs(config: Config, defense: str | None = None) -> list[Pack]:
    """Query sets within an l-infinity ball, attacked through the target network or through a defence."""
    linf = config.attacks.linf
    if linf is None:
        return []
    threat = Threat("gray_box", defense)
    return [Pack(LINF, threat, attack, epsilons) for attack in linf.methods for epsilons in linf.packs]


def defense_packs(config: Config, defense: str) -> list[Pack]:
    """Query sets that a defence without a database is evaluated on."""
    found = [*base_packs(config), *own_packs(config, defense)]
    if config.attacks.linf and defense in config.attacks.linf.defenses:
        found += [*linf_packs(config), *linf_packs(config, defense)]
    return found


def undefended_packs(config: Config) -> list[Pack]:
    """Query sets that the bare network is evaluated on."""
    return [*neighbor_packs(config, config.base.features), *linf_packs(config)]


def made_packs(config: Config) -> list[Pack]:
    """Every pack that is a file of attacked images."""
    own = [one for defense in config.defenses for one in own_packs(config, defense)]
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


def method_options(config: Config, ball: Ball, attack: str) -> dict[str, object]:
    """Options of an attack within a ball."""
    methods = config.attacks.linf.methods if ball == LINF and config.attacks.linf else config.attacks.methods
    return methods[attack].model_dump() if attack in methods else {}


def attacked_model(config: Config, threat: Threat) -> str:
    """The network whose gradients an attack follows."""
    if threat.defense is not None:
        return config.defenses[threat.defense].model or config.target
    return config.surrogate if threat.box == "black_box" else config.target
