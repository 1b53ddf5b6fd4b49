"""Networks: which are trained, from what, and what they are built of."""

from collections.abc import Iterable
from typing import Any

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.config import Config
from nndefense.defenses import TRAINING
from nndefense.images import KINDS
from nndefense.models.architectures import architecture_entry


def trained_models(config: Config, *methods: str) -> list[str]:
    """Models trained in the workflow; only by these methods where some are named."""
    recipes = {name: model.train for name, model in config.models.items() if model.train}
    return [name for name, recipe in recipes.items() if not methods or recipe.method in methods]


def used_models(config: Config) -> list[str]:
    """The target, and the surrogate where there is another one."""
    return list(dict.fromkeys(name for name in (config.target, config.surrogate) if name))


def surrogates(config: Config) -> list[str]:
    """Networks that attackers through a defence have for it: those that are used anyhow, and further ones."""
    adaptive = config.attacks.adaptive
    return list(dict.fromkeys([*used_models(config), *(adaptive.surrogates if adaptive else [])]))


def ancestors(config: Config, models: Iterable[str]) -> list[str]:
    """These models and all that they are trained from, in the configuration's order."""
    pending, found = list(models), set()
    while pending:
        found.add(model := pending.pop())
        pending += config.models[model].trained_from
    return [name for name in config.models if name in found]


def curves(config: Config) -> list[str]:
    """Models trained for this run: those whose histories figure `training` shows."""
    asked = [one.model for one in config.defenses.values() if one.model]
    asked += [one.chooser for one in config.defenses.values() if getattr(one, "chooser", None)]
    asked += [one.model for one in config.retrieval.embeddings.values()] if config.retrieval else []
    return [name for name in ancestors(config, [*used_models(config), *asked]) if config.models[name].train]


def computing_values(config: Config, *, attacks: bool = False) -> dict[str, Any]:
    """Parameters of jobs that compute features, or `attacks`' gradients; none of the default.

    So a job that computes as jobs do by themselves stays the same.
    """
    precision = (config.attacks.precision if attacks else None) or config.precision
    chosen = {"precision": precision, "compile": config.compile}
    return {name: value for name, value in chosen.items() if value != type(config).model_fields[name].default}


def architecture_targets(config: Config, *models: str) -> list[str]:
    """Registry targets of the architectures of models, and of those that they are built on."""
    found = []
    for name in models:
        extractor = getattr(config.models[name].train, "extractor", None)
        found.append(architecture_entry(config.models[name].architecture))
        found += architecture_targets(config, extractor) if extractor else []
    return sorted(set(found))


def image_targets(config: Config, *sets: str) -> list[str]:
    """Registry targets of the kinds of image sets, and of those that they are parts of."""
    return sorted({KINDS[kind].target for name in sets for kind in config.images[name].kinds})


def method_needs(config: Config, model: str) -> tuple[str, ...]:
    """What a model's way to train asks for besides images and networks."""
    recipe = config.models[model].train
    return TRAINING[recipe.method].needs if recipe and recipe.method in TRAINING else ()


def training_targets(config: Config, model: str) -> list[str]:
    """Registry targets of a model's training images, of its method, and of the networks that training opens."""
    recipe = config.models[model].train
    sets = [recipe.images, *([recipe.database.images] if recipe.method == "retrieval_augmented" else [])]
    method = [TRAINING[recipe.method].target] if recipe.method in TRAINING else []
    opened = ancestors(config, [model, *config.models[model].trained_from])
    return [*image_targets(config, *sets), *method, *architecture_targets(config, *opened)]


def defense_kind(config: Config, defense: str) -> str:
    """The registered kind of a defence."""
    return defense if defense in (NO_DEFENSE, NEIGHBORS) else config.defenses[defense].kind


def defense_options(config: Config, defense: str) -> dict[str, Any]:
    """Options of a defence; the nearest neighbours are deployed at the base values."""
    base = config.base
    if defense in config.defenses and config.defenses[defense].kind == NEIGHBORS:
        # As searches of the workflow, where nothing else is said: so equal distances are decided alike.
        options, searched = config.defenses[defense].options, config.index.neighbors
        found = options | {"probes": options["probes"] or config.index.probes}
        found["searched"] = options["searched"] or (searched if searched >= options["k"] else None)
        return {name: value for name, value in found.items() if value is not None}
    if defense != NEIGHBORS:
        return {} if defense == NO_DEFENSE else config.defenses[defense].options
    found = {
        "k": base.neighbors,
        "weighting": base.weighting,
        "combination": base.combination,
        "searched": config.index.neighbors,
        "probes": config.index.probes,
    }
    return {name: value for name, value in found.items() if value is not None}
