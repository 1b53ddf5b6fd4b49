"""What a configuration gives each figure and table: functions of (config, piece) -> Inputs, None without the axes.

They are named by pieces, not imported: no job depends on the code here.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from nndefense.axes.ball import LINF
from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE, PREDICTIONS
from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import Threat
from nndefense.config import Config
from nndefense.core.files import file_sha256
from nndefense.evaluation import KINDS
from nndefense.features.names import is_rmac
from nndefense.flow.databases import neighbors_place, shards_of
from nndefense.flow.encoders import encoder_of, layer_place, searched_layers
from nndefense.flow.models import curves, surrogates, used_models
from nndefense.flow.queries import (
    attacked_defenses,
    aware_attacks,
    aware_packs,
    base_ball,
    base_packs,
    file_of,
    listed_defenses,
    own_packs,
    packs_under,
    through_packs,
    unaware_attacks,
    worst_packs,
)
from nndefense.flow.rows import (
    all_files,
    answer_file,
    linf_files,
    summary_file,
    summary_files,
    system_files,
)
from nndefense.report.certified_sources import judged_retrieval
from nndefense.report.dictionary_sources import judged_dictionaries, resampling
from nndefense.report.paper import FILE as PAPER_TABLES
from nndefense.report.piece import Inputs, Piece


def _paper() -> dict[str, str]:
    """The paper's numbers that tables show: a change of them is one of the tables."""
    return {"paper_sha256": file_sha256(PAPER_TABLES)[:16]}


def _rows(config: Config, layers: Iterable[str], packs: Iterable[Pack]) -> dict[str, list[str]]:
    return {"rows": system_files(config, layers, packs)}


def _attack(config: Config, piece: Piece) -> str | None:
    """The piece's attack, if it is configured."""
    attack = piece.attack or config.base.attack
    return attack if attack in unaware_attacks(config) else None


def _base_layer(config: Config, *attacks: str) -> dict[str, list[str]]:
    return _rows(config, [config.base.features], packs_under(config, *attacks))


def neighbors(config: Config, piece: Piece) -> Inputs | None:
    """Every K under an attack in the black box."""
    attack = _attack(config, piece)
    return Inputs(_base_layer(config, attack)) if attack and "black_box" in config.attacks.settings else None


def layers(config: Config, piece: Piece) -> Inputs | None:
    """Several layers under an attack."""
    attack, plain = _attack(config, piece), [name for name in config.features.names if not is_rmac(name)]
    return Inputs(_rows(config, plain, packs_under(config, attack))) if attack and len(plain) > 1 else None


def sizes(config: Config, piece: Piece) -> Inputs | None:
    """Several sizes under an attack."""
    attack = _attack(config, piece)
    return Inputs(_base_layer(config, attack)) if attack and len(config.pools[config.base.pool].values) > 1 else None


def attacks(config: Config, piece: Piece) -> Inputs | None:
    """Every attack that does not know of the defence, where there are several."""
    found = unaware_attacks(config)
    return Inputs(_base_layer(config, *found), {"attacks": found}, found) if len(found) > 1 else None


def aware(config: Config, piece: Piece) -> Inputs | None:
    """Attacks that know of the defence, beside the base attack."""
    packs = aware_packs(config)
    if not packs:
        return None
    packs += through_packs(config, NEIGHBORS)
    files = _rows(config, [config.base.features], [*packs_under(config, config.base.attack), *packs])
    return Inputs(files, {"white_box": _white_box(config)}, _aware_names(config))


def _white_box(config: Config) -> dict[str, Any] | None:
    section = config.attacks.white_box
    if section is None:
        return None
    through = list(dict.fromkeys(pack.attack for pack in through_packs(config, NEIGHBORS)))
    ablated = [section.ablated, *([config.attacks.adaptive.doubled] if through else [])]
    return {"pool": section.pool, "attacks": aware_attacks(config), "ablated": ablated, "through": through}


def _aware_names(config: Config) -> list[str]:
    section = _white_box(config)
    return [*section["attacks"], *section["ablated"], *section["through"]] if section else []


def databases(config: Config, piece: Piece) -> Inputs:
    """Every database under the base attack at the base budget, by the base layer and by those pooled by R-MAC."""
    packs = [pack for pack in base_packs(config) if pack.ball in (None, base_ball(config))]
    files = _rows(config, _table_layers(config), packs) | _worst(config, NO_DEFENSE, NEIGHBORS)
    return Inputs(files, _paper(), _worst_names(config))


def _worst(config: Config, *defenses: str) -> dict[str, list[str]]:
    """Worst cases of these defences; no role without any."""
    files = [summary_file(config, "accuracy_worst", one) for one in defenses if one in attacked_defenses(config)]
    return {"worst": files} if files else {}


def _worst_names(config: Config) -> list[str]:
    """Attacks that a worst case may name."""
    adaptive, compared = config.attacks.adaptive, config.dictionaries.attacks if config.dictionaries else {}
    return [*adaptive.methods, *unaware_attacks(config), *aware_attacks(config), *compared] if adaptive else []


def databases_and_models(config: Config, piece: Piece) -> Inputs:
    """The databases, and the clean accuracies of the networks in use."""
    models = [f"<results>/models/{model}/clean_accuracy.json" for model in used_models(config)]
    return Inputs({**databases(config, piece).files, "models": models}, _paper(), _worst_names(config))


def defenses(config: Config, piece: Piece) -> Inputs:
    """Every database and every other defence at the base values, in all pixel spaces of normalised l2 balls."""
    files = system_files(config, _table_layers(config), base_packs(config))
    listed = listed_defenses(config)
    for defense in listed:
        packs = [pack for pack in [*base_packs(config), *own_packs(config, defense)] if pack.ball != LINF]
        files += [answer_file(config, defense, pack) for pack in packs]
    worst = _worst(config, NO_DEFENSE, NEIGHBORS, *listed)
    return Inputs({"rows": files, **worst}, _paper(), _worst_names(config), listed)


def _table_layers(config: Config) -> list[str]:
    return list(dict.fromkeys([config.base.features, *filter(is_rmac, config.features.names)]))


def worst_case(config: Config, piece: Piece) -> Inputs | None:
    """The worst case of every defence that is attacked, what each attack broke, and what the searches report."""
    defenses = attacked_defenses(config)
    if not defenses:
        return None
    packs = [pack for one in defenses for pack in worst_packs(config, one)]
    files = {
        "worst": summary_files(config, "accuracy_worst"),
        "breaks": summary_files(config, "attack_breaks"),
        "reports": [f"<results>/attacks/{pack}.json" for pack in packs],
    }
    suite = list(config.attacks.adaptive.methods)
    return Inputs(files, {"suite": suite}, _worst_names(config), list(config.defenses))


def by_encoder(config: Config, piece: Piece) -> Inputs | None:
    """Worst cases of nearest neighbours by layers of several networks, and of no defence."""
    attacked = attacked_defenses(config)
    layers = {name: layer for name, layer in searched_layers(config).items() if name in attacked}
    if len({encoder_of(config, layer) for layer in layers.values()}) < 2:
        return None
    values = {
        "encoders": {layer: encoder_of(config, layer) for layer in layers.values()},
        "layers": layers,
        "target": config.target,
    }
    return Inputs(_worst(config, NO_DEFENSE, *layers), values)


def card(config: Config, piece: Piece) -> Inputs | None:
    """What the worst case is of, and how to reproduce it."""
    found = worst_case(config, piece)
    if found is None:
        return None
    adaptive, place = config.attacks.adaptive, "/".join(part for part in ("results", config.run) if part)
    commands = {}
    for name in attacked_defenses(config):
        stored = [f"{place}/attacks/{pack}.npz" for pack in worst_packs(config, name)]
        rows = summary_file(config, "accuracy_worst", name).replace("<results>", place)
        scored = [f"nndefense rescore {path}" + (f" --run {place}" if config.run else "") for path in stored]
        commands[name] = [f"snakemake {rows}", *scored]
    values = {
        "commands": commands,
        "networks": {name: one.model or config.target for name, one in config.defenses.items()},
        "options": {name: options.model_dump() for name, options in adaptive.methods.items()},
        "surrogates": surrogates(config),
    }
    return replace(found, values=found.values | values)


def layer_sizes(config: Config, piece: Piece) -> Inputs:
    """Measured sizes of feature maps."""
    return Inputs({"sizes": ["<results>/layer_sizes.json"]}, _paper())


def linf(config: Config, piece: Piece) -> Inputs | None:
    """Networks under attacks within an l-infinity ball."""
    section = _linf(config)
    if section is None:
        return None
    files = {"rows": linf_files(config)}
    return Inputs(files, {"linf": section, **_paper()}, section["attacks"], section["defenses"])


def _linf(config: Config) -> dict[str, Any] | None:
    section = config.attacks.linf
    if section is None:
        return None
    options = {name: one.model_dump() for name, one in section.methods.items()}
    return {
        "attacks": list(options),
        "steps": {name: one["steps"] for name, one in options.items() if "steps" in one},
        "baseline": config.target,
        "defenses": list(section.defenses),
        "retrieved": {name: _retrieved(config, config.defenses[name].model) for name in section.defenses},
    }


def _retrieved(config: Config, model: str | None) -> int:
    """Images that a network retrieves; 0 for one that does not."""
    recipe = config.models[model or config.target].train
    return recipe.neighbors if recipe and recipe.method == "retrieval_augmented" else 0


def judged(config: Config, piece: Piece) -> Inputs:
    """Every answer of the run, and all that claims compare."""
    section = _linf(config)
    listed = listed_defenses(config)
    values = {
        "ablations": [name for name in config.defenses if name not in listed],
        "dataset": config.dataset,
        "linf": section,
        "model": config.target,
        "white_box": _white_box(config),
        **resampling(config),
    }
    named = [*unaware_attacks(config), *_aware_names(config), *(section["attacks"] if section else [])]
    through = system_files(config, [config.base.features], through_packs(config, NEIGHBORS))
    guarded, purified = judged_retrieval(config), judged_dictionaries(config)
    through = [path for path in through if f"/{config.base.features}/" in path] + purified.files.get("through", [])
    files = {PREDICTIONS: all_files(config, adaptive=False)} | ({"through": through} if through else {})
    return Inputs(files | guarded.files, values | guarded.values | purified.values, named, list(config.defenses))


def histories(config: Config, piece: Piece) -> Inputs | None:
    """Histories of the networks that are trained for this run."""
    names = curves(config)
    files = [f"<results>/models/{name}/training.csv" for name in names]
    return Inputs({"histories": files}, {"models": names}) if names else None


def evaluation(config: Config, piece: Piece) -> Inputs:
    """Rows of an evaluation kind besides accuracy, under the base attack."""
    kind, packs = piece.name.removeprefix("rows_"), packs_under(config, config.base.attack)
    files = {"rows": system_files(config, [config.base.features], packs)}
    return Inputs(files, {"measured": KINDS[kind].target}, defenses=list(config.defenses))


def illustration(config: Config, piece: Piece) -> Inputs:
    """Test images, clean and at a middle and the largest budget, and everything to show their neighbours by."""
    budgets, model, pool = sorted(config.attacks.values), config.target, config.base.pool
    chosen = dict.fromkeys([budgets[(len(budgets) - 1) // 2], budgets[-1]])
    threat = Threat.parse(config.attacks.settings[0])
    shown = [CLEAN, *(Pack(base_ball(config), threat, config.base.attack, (budget,)) for budget in chosen)]
    packs = [file_of(config, one) for one in shown]
    parts = [f"<results>/softmax/{model}/{pool}/{shard}" for shard in shards_of(config, pool)]
    merged = f"<results>/neighbors/{layer_place(config, config.base.features)}/{pool}/{neighbors_place(config, pool)}"
    files = {
        "queries": [f"<results>/attacks/{pack}.npz" for pack in packs],
        "neighbors": [f"{merged}/{pack}.npz" for pack in packs],
        "predicted": [f"<results>/softmax/{model}/queries/{pack}.npy" for pack in packs],
        "pool": [f"<results>/pools/{pool}.parquet"],
        "sets": [f"<results>/images/{name}/set.json" for name in config.pools[pool].images],
        "manifests": [f"<results>/images/{name}/manifest.parquet" for name in config.pools[pool].images],
        "softmax": [f"{part}.npy" for part in parts],
        "weights": [f"{part}.weights.npy" for part in parts],
        "checks": [f"{part}.checks.npy" for part in parts],
        "task": [f"<results>/images/{config.queries.images}/set.json"],
    }
    size = max(config.pools[pool].values)
    return Inputs(files, {"shown": list(map(str, shown)), "packs": list(map(str, packs)), "size": size})
