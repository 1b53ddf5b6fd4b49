"""Jobs of attacks: how many there are, how often each asks a network, and what that costs.

Attacks through a defence stop at the first image that breaks it, so theirs is the most that they can take.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import BALLS
from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.axes.queries import WORST, Pack
from nndefense.axes.threat import ADAPTIVE, AttackDatabase, Threat
from nndefense.config import Config
from nndefense.flow.costs import UNKNOWN, Job
from nndefense.flow.databases import attacker_lists, databases_of
from nndefense.flow.estimate import MB, MEMBER, Estimate
from nndefense.flow.models import surrogates
from nndefense.flow.needs import TRANSFER, attack_needs
from nndefense.flow.queries import attacked_model, knows, made_packs, method_options

# Bytes of an image's losses, whether it was stuck, and its distance in each ball.
MEASURED = 2 * 4 + 1 + 8 * len(BALLS)
# Labels and rows.
NAMED = 16
Options = Mapping[str, Any]


class Passes(NamedTuple):
    """How often an attack asks a network about an image, at most.

    Attributes:
        forward: passes. backward: gradients of the image. asked: of the passes, those of the exact defence.
    """

    forward: float
    backward: float = 0
    asked: float = 0


Reckoned = Callable[[Options, int], Passes]


# -- what attacks ask: functions of their options, and of the number of networks that they have


def _one_step(options: Options, networks: int) -> Passes:
    return Passes(3, 1)


def _steps(options: Options, networks: int) -> Passes:
    return Passes(2 + options["steps"], options["steps"])


def _starts(options: Options, networks: int) -> Passes:
    """PGD and its like: the loss before, and of each start the steps and the loss behind them."""
    runs, steps = options["restarts"], options["steps"]
    return Passes(1 + runs * (steps + 1), runs * steps)


def _aware(options: Options, networks: int) -> Passes:
    """Of several starts the one of the largest objective, which is no loss, is kept."""
    found = _starts(options, networks)
    return found._replace(forward=found.forward + (options["restarts"] if options["restarts"] > 1 else 0))


def _scaled(options: Options, networks: int) -> Passes:
    """A direction that was found before: the losses."""
    return Passes(2)


def _climbs(count: Callable[[Options], int]) -> Reckoned:
    """So many climbs of an attack's steps."""

    def found(options: Options, networks: int) -> Passes:
        steps, runs = options["steps"], options["restarts"] * count(options)
        asked = 1 + runs * math.ceil(steps / options["refresh"])
        return Passes(2 + runs * steps + asked, runs * steps, asked)

    return found


def _transferred(options: Options, networks: int) -> Passes:
    """Climbs on each network and on all together, and a question where each ends."""
    runs = options["restarts"] * (networks + (networks > 1))
    climbed = options["restarts"] * (2 * networks if networks > 1 else 1) * options["steps"]
    return Passes(3 + climbed + runs, climbed, 1 + runs)


def _noise(options: Options, networks: int) -> Passes:
    asked = 1 + options["restarts"] * options["tries"]
    return Passes(2 + asked, 0, asked)


def _square(options: Options, networks: int) -> Passes:
    """The clean image is its first question."""
    asked = options["restarts"] * options["queries"]
    return Passes(2 + asked, 0, asked)


PASSES: dict[str, Reckoned] = {
    "noise": _noise,
    "transfer": _transferred,
    "soft_retrieval": _climbs(lambda options: len(options["temperatures"])),
    # From the image, and from a neighbour of another class.
    "guide_samples": _climbs(lambda options: 2),
    "feature_matching": _climbs(lambda options: options["targets"]),
    "bpda": _climbs(lambda options: 1),
    "unrolled": _climbs(lambda options: 1),
    "square": _square,
    "cw": _scaled,
    "fgsm": _one_step,
    "ifgsm": _steps,
    "pgd": _starts,
    "pgd_fs": _aware,
    "pgd_pr": _aware,
    "pgd_pr_hard": _aware,
    "pgd_pr_literal": _aware,
}


def attack_passes(config: Config, pack: Pack) -> Passes:
    """What an attack asks about an image at one budget."""
    options = {"restarts": 1, **method_options(config, pack.ball, pack.threat, pack.attack)}
    networks = len(surrogates(config))
    if pack.attack not in PASSES:  # in a package of its own, of which only its author knows how often it asks
        return Passes(UNKNOWN, UNKNOWN, UNKNOWN)
    found = PASSES[pack.attack](options, networks)
    literal = "neighbor_images" in ATTACKS[pack.attack].needs and options.get("form", "literal") == "literal"
    # A gradient at each neighbour, once for all budgets.
    more = config.attacks.white_box.neighbors / len(pack.epsilons) if literal else 0
    return Passes(found.forward + more, found.backward + more, found.asked)


# -- which there are


def attack_packs(config: Config) -> list[Pack]:
    """Packs that an attack alone makes; the worst cases are made of others."""
    return [pack for pack in made_packs(config) if pack.attack != WORST]


def attack_databases(config: Config) -> list[AttackDatabase]:
    """Attackers' databases."""
    found = dict.fromkeys(pack.threat.database for pack in made_packs(config) if pack.threat.knows is None)
    return [one for one in found if one is not None]


def knowing_databases(config: Config) -> list[AttackDatabase]:
    """Those that attackers who know of the retrieval take neighbours of the clean images from."""
    return list(dict.fromkeys(pack.threat.database for pack in attack_packs(config) if knows(pack.attack)))


def attack_jobs(at: Estimate) -> Iterator[Job]:
    """Attacked query sets, directions that budgets scale, and what attackers know."""
    config, searched = at.config, {}
    for pack in attack_packs(config):
        if any(path.endswith("direction.npz") for path in attack_needs(config, pack).files):
            searched[pack.ball, pack.threat, pack.attack] = pack
        yield attack_job(at, pack)
    yield from (_direction_job(at, pack) for pack in searched.values())
    yield from (_climbs_job(at, pack) for pack in climbed_packs(config).values())
    yield from (_knowledge_job(at, one) for one in knowing_databases(config))


def climbed_packs(config: Config) -> dict[str, Pack]:
    """Files of climbs that are made for all defences, and a pack that they are for."""
    found = {}
    for pack in made_packs(config):
        needs = attack_needs(config, pack)
        for role, path in zip(needs.roles, needs.files, strict=True):
            if role == "climbs":
                found[path] = Pack(pack.ball, Threat(ADAPTIVE, NO_DEFENSE), TRANSFER, pack.epsilons)
    return found


def attack_job(at: Estimate, pack: Pack) -> Job:
    """A pack of attacked images."""
    images, passes = at.pack_images(pack) * len(pack.epsilons), attack_passes(at.config, pack)
    if "climbs" in attack_needs(at.config, pack).roles:
        passes = Passes(passes.forward - passes.backward, 0, passes.asked)
    written = images * (4 * at.pixels + MEASURED) + at.pack_images(pack) * NAMED + MEMBER * 8 * len(pack.epsilons)
    return _networked(at, "make_attack_set", pack, images, passes, written)


def _direction_job(at: Estimate, pack: Pack) -> Job:
    options = method_options(at.config, pack.ball, pack.threat, pack.attack)
    steps = options.get("binary_search_steps", UNKNOWN) * options.get("steps", UNKNOWN)
    # One more gradient moves images that are wrong already.
    images, passes = at.pack_images(pack), Passes(steps + 1, steps + 1)
    return _networked(at, "find_direction", pack, images, passes, images * (4 * at.pixels + 8) + 2 * MEMBER)


def _climbs_job(at: Estimate, pack: Pack) -> Job:
    climbed, asked = attack_passes(at.config, pack)[1:]
    images = at.pack_images(pack) * len(pack.epsilons)
    written = images * ((asked - 1) * 4 * at.pixels + 9) + at.pack_images(pack) * 8 + MEMBER * 3 * len(pack.epsilons)
    return _networked(at, "climb_networks", pack, images, Passes(climbed, climbed), written + MEMBER)


def _networked(at: Estimate, script: str, pack: Pack, images: float, passes: Passes, written: float) -> Job:
    config, start = at.config, at.started("torch")
    network = at.network(attacked_model(config, pack.threat), at.query_side)
    forward, backward = images * passes.forward, images * passes.backward
    factor = at.backward_factor(network)
    # An image's gradient has about the operations of a pass, whatever its duration.
    flop = (forward + backward) * (network.flop if network else UNKNOWN)
    searches = images * passes.asked * _searched(at, pack)
    held = network.held_backward if network else UNKNOWN
    batch = min(config.attacks.batch, at.pack_images(pack))
    return Job(
        script=script,
        rows=images,
        read=at.pack_images(pack) * 4 * at.pixels,
        written=written,
        forward=forward,
        backward=backward,
        flop=flop + searches,
        serial=start.seconds + at.writing(written) + searches / at.rates.search.gflops * 1e-9,
        parallel=at.forward_seconds(network) * (forward + backward * factor),
        device=at.device_seconds(flop),
        threads=config.threads,
        megabytes=start.megabytes + (batch * (held + 16 * at.pixels) + 2 * written) / MB,
    )


def _searched(at: Estimate, pack: Pack) -> float:
    """Operations of the search with which an attacked defence answers about an image; UNKNOWN for other defences."""
    config, threat = at.config, pack.threat
    if threat.box != ADAPTIVE or threat.defense == NO_DEFENSE:
        return 0.0
    if threat.defense != NEIGHBORS:
        return UNKNOWN
    database = threat.database or databases_of(config, config.base.pool).whole
    return 2 * database.size * at.components(config.base.features, database.pool)


def _knowledge_job(at: Estimate, database: AttackDatabase) -> Job:
    config, start = at.config, at.started("numpy")
    places = at.queries * config.attacks.white_box.neighbors
    lists = len(attacker_lists(config, database)) * at.queries * config.index.neighbors
    codes = at.components(config.base.features, database.pool)
    written = places * (8 + 4 * config.classes) + at.queries * 4 * codes + 3 * MEMBER
    return Job(
        script="gather_knowledge",
        rows=at.queries,
        read=lists * 12,
        written=written,
        serial=start.seconds + lists * at.rates.search.merge_ns * 1e-9 + at.writing(written),
        megabytes=start.megabytes + (places * 4 * (config.classes + codes) + written) / MB,
    )


# -- clean images


def clean_jobs(at: Estimate) -> Iterator[Job]:
    """The query set that every attack starts from, and validation images where options are chosen on such."""
    config, start = at.config, at.started("tables")
    counts = [(config.queries.images, at.queries)]
    if any(one.tune for one in config.defenses.values()):
        counts.append((config.validation.images, config.validation.count))
    for name, images in counts:
        side = at.facts.sides.get(name)
        pixels = 3 * side**2 if side else UNKNOWN
        written = images * (4 * pixels + NAMED) + 3 * MEMBER
        yield Job(
            script="make_clean_set",
            rows=images,
            written=written,
            serial=start.seconds + images * at.reading_images([name]) + at.writing(written),
            megabytes=start.megabytes + images * 6 * pixels / MB,
        )
