"""What components need: one table that says for each need which files it is and how they are read.

A component names its needs in its registry entry. Rules and scripts pass them on without knowing them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nndefense.attacks import ATTACKS
from nndefense.axes.ball import Ball
from nndefense.axes.cells import NO_DEFENSE
from nndefense.axes.queries import CLEAN, WORST, Pack
from nndefense.config import Config
from nndefense.core.errors import ConfigError
from nndefense.core.registry import Entry
from nndefense.defenses import DEFENSES
from nndefense.flow.databases import attacker_shards, databases_of
from nndefense.flow.dictionaries import CLUSTERS, DICTIONARIES, ORACLE, dictionary_model, tuned_by, tuned_file
from nndefense.flow.encoders import encoder_of, layer_place
from nndefense.flow.models import defense_kind, surrogates
from nndefense.flow.queries import attacked_defense, file_of, method_options, neighbor_packs

CONTEXT = "nndefense.evaluation.context"
READERS = "nndefense.evaluation.readers"
PURIFYING = "nndefense.evaluation.purifying"
TUNED = "tuned"
MODEL_FILES = ("model.json", "weights.safetensors")
# The attack whose climbs are made once, for all defences.
TRANSFER = "transfer"


@dataclass(frozen=True)
class Case:
    """The job that something is needed for: a pack of query sets that is attacked (by an attacker) or answered.

    Attributes:
        defense: the name of the one that is attacked, or that answers.
    """

    config: Config
    pack: Pack
    attacking: bool = False
    defense: str | None = None


@dataclass(frozen=True)
class Need:
    """Files of a need in the order that its reader takes them (none: this case does without), and small values."""

    read: str
    files: Callable[[Case], list[str]]
    facts: Callable[[Case], dict[str, Any]] = lambda case: {}


def climbs_file(ball: Ball | str, budgets: str) -> str:
    """Where climbs on networks end; budgets: as of a pack's name."""
    return f"<results>/attacks/{ball}/climbs/{TRANSFER}/{budgets}.npz"


def pooled_sides(config: Config, layers: Iterable[str]) -> dict[str, int]:
    """Sides of the pooled maps that the configuration changes, of these layers."""
    return {layer: side for layer, side in config.features.pooled.items() if layer in layers}


def _answers(case: Case) -> list[str]:
    # Extraction has passed these images through the network already.
    pack = file_of(case.config, case.pack)
    known = pack == case.pack and pack in neighbor_packs(case.config, case.config.base.features)
    return [f"<results>/softmax/{case.config.target}/queries/{pack}.npy"] if known else []


def _patches(case: Case) -> list[str]:
    return [f"<results>/patches/{case.config.patches.images}.npy"]


def _direction(case: Case) -> list[str]:
    return [f"<results>/attacks/{case.pack.ball}/{case.pack.threat}/{case.pack.attack}/direction.npz"]


def _knowledge(case: Case) -> list[str]:
    return [f"<results>/attacks/knowledge/{case.pack.threat.database}.npz"]


def _pool(config: Config, pool: str) -> list[str]:
    """A pool, and what its image sets are read by."""
    files = ("set.json", "manifest.parquet")
    sets = [f"<results>/images/{name}/{file}" for name in config.pools[pool].images for file in files]
    return [f"<results>/pools/{pool}.parquet", *sets]


def _neighbor_images(case: Case) -> list[str]:
    # Pixels of neighbours serve one form of PGD-PR only.
    options = method_options(case.config, case.pack.ball, case.pack.threat, case.pack.attack)
    if options.get("form", "literal") != "literal":
        return []
    pool = case.pack.threat.database.pool
    return [*_knowledge(case), *_pool(case.config, pool)]


def _own_encoder(config: Config, layer: str) -> list[str]:
    """Files of the network that a layer is of, if that is not the target."""
    own = encoder_of(config, layer)
    return [] if own == config.target else [f"<results>/models/{own}/{file}" for file in MODEL_FILES]


def _encoder(case: Case) -> list[str]:
    config = case.config
    pca = f"<results>/pca/{layer_place(config, config.base.features)}/{case.pack.threat.database.pool}.npz"
    return [pca, *_own_encoder(config, config.base.features)]


def _encoder_facts(case: Case) -> dict[str, Any]:
    layer = case.config.base.features
    return {"layer": layer, "pooled": pooled_sides(case.config, [layer])}


def _surrogates(case: Case) -> list[str]:
    return [f"<results>/models/{name}/{file}" for name in surrogates(case.config) for file in MODEL_FILES]


def _climbs(case: Case) -> list[str]:
    # Attackers who lack weights of the target have other networks to climb on.
    if _imitates(case):
        return []
    return [climbs_file(case.pack.ball, case.pack.budgets)]


def _climbs_facts(case: Case) -> dict[str, Any]:
    options = method_options(case.config, case.pack.ball, case.pack.threat, TRANSFER)
    return {"attack": TRANSFER, "options": options}


def _retrieval(case: Case) -> list[str]:
    if _imitates(case):
        return []
    if case.defense in case.config.defenses:
        return [f"<results>/retrievals/{case.defense}.json"]
    database = case.pack.threat.database if case.attacking and case.pack.threat else None
    return ["<results>/knn.json" if database is None else f"<results>/attackers/{database}.json"]


def _imitates(case: Case) -> bool:
    """Whether an attacker lacks weights of the target, so that it builds a retrieval of its own."""
    return case.attacking and case.pack.threat is not None and case.pack.threat.knows is not None


def _imitation(case: Case) -> list[str]:
    if not _imitates(case):
        return []
    pool, surrogate = case.config.base.pool, case.config.surrogate
    model = [f"<results>/models/{surrogate}/{file}" for file in MODEL_FILES]
    own = _own_encoder(case.config, case.config.base.features) if case.pack.threat.knows == "features" else []
    return [*model, *own, *_pool(case.config, pool)]


def _imitation_facts(case: Case) -> dict[str, Any]:
    config, pool = case.config, case.config.base.pool
    database = case.pack.threat.database or databases_of(config, pool).whole
    return {
        **_encoder_facts(case),
        "shards": attacker_shards(config, database),
        "components": config.features.components,
        "samples": config.features.pca_samples,
        "batch": config.features.batch,
    }


def _dictionaries(case: Case) -> list[str]:
    chooser = case.config.defenses[case.defense].chooser or dictionary_model(case.config)
    model = [f"<results>/models/{chooser}/{file}" for file in MODEL_FILES]
    return [CLUSTERS, DICTIONARIES, *model]


def _oracle(case: Case) -> list[str]:
    return [ORACLE] if case.config.defenses[case.defense].choice == "oracle" else []


def _tuned(case: Case) -> list[str]:
    source = tuned_by(case.config, case.defense)
    return [tuned_file(source)] if source else []


NEEDS = {
    "answers": Need(f"{CONTEXT}:read_answers", _answers),
    "climbs": Need(f"{READERS}:read_climbs", _climbs, _climbs_facts),
    "dictionaries": Need(f"{PURIFYING}:read_dictionaries", _dictionaries),
    "direction": Need(f"{CONTEXT}:read_direction", _direction),
    "encoder": Need(f"{READERS}:read_encoder", _encoder, _encoder_facts),
    "imitation": Need(f"{READERS}:read_imitation", _imitation, _imitation_facts),
    "knowledge": Need(f"{CONTEXT}:read_knowledge", _knowledge),
    "neighbor_images": Need(f"{READERS}:read_neighbor_images", _neighbor_images),
    "oracle": Need(f"{PURIFYING}:read_oracle", _oracle),
    "patches": Need(f"{CONTEXT}:read_patches", _patches),
    "surrogates": Need(f"{READERS}:read_surrogates", _surrogates),
    "retrieval": Need(f"{READERS}:read_retrieval", _retrieval),
    # Of every defence, without being told.
    TUNED: Need(f"{CONTEXT}:read_tuned", _tuned),
}


def check_needs(registry: Mapping[str, Entry], known: Iterable[str]) -> None:
    """Raises ConfigError for an entry that needs something else, as a plugin's may."""
    for name, entry in registry.items():
        if unknown := [one for one in entry.needs if one not in known]:
            raise ConfigError(f"{entry.target} ({name}): needs {unknown[0]!r}; allowed: {', '.join(known)}")


for _registry in (ATTACKS, DEFENSES):
    check_needs(_registry, NEEDS)


@dataclass(frozen=True)
class Needed:
    """The needs of a job as inputs of its rule: files and, in parallel, the need that each is for; readers; facts.

    Its code depends on `targets`: the components that have the needs, and the readers.
    """

    roles: list[str]
    files: list[str]
    readers: dict[str, str]
    facts: dict[str, Any]
    targets: list[str]


def needed(
    config: Config, pack: Pack, *entries: Entry, defense: str | None, attacking: bool = False, tuned: bool = True
) -> Needed:
    """What the components of these registry entries need for a pack, to attack a defence or to answer by it.

    tuned: whether an option that is chosen on validation images is to be known.
    """
    case, roles, files, facts = Case(config, pack, attacking, defense), [], [], {}
    names = [*(name for entry in entries for name in entry.needs), *([TUNED] if tuned else [])]
    for name in dict.fromkeys(names):
        paths = NEEDS[name].files(case)
        roles += [name] * len(paths)
        files += paths
        if paths and (values := NEEDS[name].facts(case)):
            facts[name] = values
    readers = {name: NEEDS[name].read for name in dict.fromkeys(roles)}
    return Needed(roles, files, readers, facts, [*(entry.target for entry in entries), *readers.values()])


def attack_needs(config: Config, pack: Pack) -> Needed:
    """What an attack needs, or all attacks of the worst case, and the defence that they attack, if there is one."""
    attacks = config.attacks.adaptive.methods if pack.attack == WORST else [pack.attack]
    entries = [ATTACKS[one] for one in attacks]
    # A bare network's answers are found by the attack itself.
    attacked = attacked_defense(config, pack.threat)
    if attacked not in (None, NO_DEFENSE):
        entries.append(DEFENSES[defense_kind(config, attacked)])
    return needed(config, pack, *entries, defense=attacked, attacking=True)


def defense_needs(config: Config, defense: str, pack: Pack = CLEAN, *, tuned: bool = True) -> Needed:
    """What a defence needs to answer a pack; tuned: as of `needed`."""
    return needed(config, pack, DEFENSES[defense_kind(config, defense)], defense=defense, tuned=tuned)


def packs_needs(config: Config, defense: str, packs: Iterable[Pack]) -> tuple[Needed, list[list[int]]]:
    """What a defence needs to answer packs: all of it, and the places among its files of what each pack needs."""
    each = [defense_needs(config, defense, pack) for pack in packs]
    pairs = list(dict.fromkeys(pair for one in each for pair in zip(one.roles, one.files, strict=True)))
    used = [[pairs.index(pair) for pair in zip(one.roles, one.files, strict=True)] for one in each]
    readers = {name: reader for one in each for name, reader in one.readers.items()}
    facts = {name: values for one in each for name, values in one.facts.items()}
    targets = list(dict.fromkeys(target for one in each for target in one.targets))
    return Needed([role for role, _ in pairs], [file for _, file in pairs], readers, facts, targets), used
