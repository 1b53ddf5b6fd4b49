"""References between keys of a configuration: what one section names must be in another, and fit it."""

from typing import Any

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.config.attacks import AWARE
from nndefense.config.base import known
from nndefense.config.checks_dictionaries import check_dictionaries, check_tuning
from nndefense.config.checks_encoders import check_classes, check_encoders, check_imitated
from nndefense.config.checks_images import check_images, check_index
from nndefense.config.checks_names import check_names
from nndefense.config.checks_options import check_options
from nndefense.config.checks_retrieval import check_embeddings, check_retrieval
from nndefense.config.images import Pool, sources_of
from nndefense.config.models import RETRIEVAL, Model, Recipe
from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError
from nndefense.defenses import DEFENSES
from nndefense.features.names import is_rmac
from nndefense.models import ARCHITECTURES
from nndefense.models.architectures import architecture_entry

AUGMENTED = "racnn"


def check(config: Config) -> None:
    """Raises ConfigError, one line, where keys do not fit each other."""
    known("queries.images", [config.queries.images], config.images)
    check_names(config)
    _check_models(config)
    _check_pools(config)
    _check_features(config)
    _check_attacks(config)
    _check_adaptive(config)
    _check_white_box(config)
    _check_defenses(config)
    check_tuning(config)
    check_dictionaries(config)
    check_embeddings(config)
    check_classes(config)
    check_retrieval(config)
    _check_base(config)
    # What sections say of each other holds from here on.
    check_options(config)
    check_index(config)
    check_images(config)


# -- networks


def _check_models(config: Config) -> None:
    models = config.models
    known("target", [config.target], models)
    if config.surrogate is None and "black_box" in config.attacks.settings:
        raise ConfigError(
            f"surrogate: missing, attacks in the black box use its gradients; allowed: {', '.join(models)}"
        )
    known("surrogate", [config.surrogate] if config.surrogate else [], models)
    for name, model in models.items():
        key = f"models.{name}"
        if sum(one is not None for one in (model.weights, model.pretrained, model.train)) != 1:
            raise ConfigError(f"{key}: needs exactly one of weights, pretrained, train")
        try:
            architecture_entry(model.architecture)
        except ConfigError:
            known(f"{key}.architecture", [model.architecture], ARCHITECTURES)
        if (model.architecture == AUGMENTED) != (model.train is not None and model.train.method == RETRIEVAL):
            raise ConfigError(f"{key}: architecture {AUGMENTED} and method {RETRIEVAL} need each other")
        if model.train:
            _check_recipe(config, f"{key}.train", model, model.train)
    for name in models:
        _check_cycle(config, [name])


def _check_recipe(config: Config, key: str, model: Model, recipe: Recipe) -> None:
    known(f"{key}.images", [recipe.images], config.images)
    known(f"{key}.initial", [recipe.initial] if recipe.initial else [], config.models)
    known(f"{key}.sources", getattr(recipe, "sources", []), config.models)
    if recipe.method == RETRIEVAL:
        _check_retrieval(config, key, model, recipe)
    elif recipe.initial and (other := config.models[recipe.initial].architecture) != model.architecture:
        raise ConfigError(f"{key}.initial: {other} cannot start a {model.architecture}")


def _check_retrieval(config: Config, key: str, model: Model, recipe: Any) -> None:
    own = key.split(".")[1]
    known(f"{key}.extractor", [recipe.extractor], [one for one in config.models if one != own])
    extractor = config.models[recipe.extractor]
    if extractor.architecture == AUGMENTED:
        raise ConfigError(f"{key}.extractor: {recipe.extractor} is a {AUGMENTED} itself, which finds no features")
    for statistic in ("mean", "std"):
        if getattr(model, statistic) != getattr(extractor, statistic):
            raise ConfigError(f"models.{own}.{statistic}: must be that of {recipe.extractor}, the extractor")
    if recipe.initial:
        raise ConfigError(f"{key}.initial: training starts from the extractor, leave this out")
    if recipe.use_labels and recipe.finetune and recipe.mixup:
        raise ConfigError(f"{key}.use_labels: local mixup would be told the mixed label; allowed: with mixup 0")
    source, rows = recipe.database.images, recipe.database.rows
    known(f"{key}.database.images", [source], config.images)
    there = getattr(config.images[source], "rows", None)
    if rows and there and rows > there:
        raise ConfigError(f"{key}.database.rows: {rows} exceeds the {there} images of {source}")
    # An image of the database is no neighbour of its own.
    held = rows or there
    if held and recipe.neighbors >= held:
        raise ConfigError(f"{key}.neighbors: {recipe.neighbors} needs a database of more images than {held}")


def _check_cycle(config: Config, path: list[str]) -> None:
    for other in config.models[path[-1]].trained_from:
        if other in path:
            cycle = " -> ".join([*path[path.index(other) :], other])
            raise ConfigError(f"models.{other}.train: a model cannot be trained from itself ({cycle})")
        _check_cycle(config, [*path, other])


# -- images and features


def _check_pools(config: Config) -> None:
    for name, pool in config.pools.items():
        known(f"pools.{name}.images", pool.images, config.images)
        _check_shared(config, name, pool)


def _check_shared(config: Config, name: str, pool: Pool) -> None:
    queries = config.queries.images
    asked = sources_of(config.images[queries])
    for one in [] if config.queries.shared else pool.images:
        drawn = sources_of(config.images[one])
        if asked[0] in drawn or drawn[0] in asked:
            raise ConfigError(
                f"pools.{name}.images: {one} has images of queries.images ({queries}), which would be neighbours of "
                "their own; allowed: other images, or queries.shared: true"
            )


def _check_features(config: Config) -> None:
    features = config.features
    check_encoders(config)
    if all(map(is_rmac, features.names)):
        raise ConfigError("features.layers: all are compared by bits (-RMAC); allowed: one without -RMAC among them")
    known("features.ablation_pools", features.ablation_pools or [], config.pools)
    known("features.pooled", features.pooled, [one for one in features.names if not one.endswith("-RMAC")])


# -- attacks and defences


def _check_attacks(config: Config) -> None:
    votes, kept = config.votes.neighbors, config.index.neighbors
    if max(votes) > kept:
        raise ConfigError(f"votes.neighbors: {max(votes)} exceeds index.neighbors = {kept}, the number kept per query")
    for name, pool in config.pools.items():
        _check_neighbors("votes.neighbors", max(votes), min(pool.values), f"smallest database of pool {name}")
    if config.attacks.linf:
        known("attacks.linf.defenses", config.attacks.linf.defenses, config.defenses)


def _check_adaptive(config: Config) -> None:
    adaptive, key = config.attacks.adaptive, "attacks.adaptive"
    if adaptive is None:
        return
    known(f"{key}.epsilons", adaptive.values, config.attacks.values)
    if config.base.epsilon not in adaptive.values:
        raise ConfigError(f"{key}.epsilons: {config.base.epsilon:g} is missing, it is `base.epsilon`")
    attackable = [NO_DEFENSE, NEIGHBORS, *config.defenses]
    known(f"{key}.defenses", adaptive.defenses or [], attackable)
    known(f"{key}.full", adaptive.full, attackable if adaptive.defenses is None else adaptive.defenses)
    known(f"{key}.limits", adaptive.limits, [*adaptive.methods, "doubled"])
    known(f"{key}.surrogates", adaptive.surrogates, config.models)
    if adaptive.knowledge and config.surrogate is None:
        raise ConfigError(f"surrogate: missing, {key}.knowledge needs another network than the target")
    able = [name for name, options in adaptive.methods.items() if "steps" in type(options).model_fields]
    known(f"{key}.doubled", [adaptive.doubled], able)


def _check_white_box(config: Config) -> None:
    white_box, key = config.attacks.white_box, "attacks.white_box"
    if white_box is None:
        return
    known(f"{key}.pool", [white_box.pool], config.pools)
    if is_rmac(config.base.features):
        raise ConfigError(f"{key}: attacks on base.features, which are bits (-RMAC), have no gradient; allowed: null")
    aware = [attack for attack in config.attacks.methods if attack in AWARE]
    if white_box.ablated not in aware:
        allowed = ", ".join(aware) or f"none, as none of {', '.join(AWARE)} is there"
        raise ConfigError(f"{key}.ablated: {white_box.ablated!r} is not in attacks.methods; allowed: {allowed}")
    sizes = config.pools[white_box.pool].values
    if strangers := [size for size in white_box.sizes if size not in sizes]:
        allowed = ", ".join(map(str, sizes))
        raise ConfigError(f"{key}.sizes: {strangers[0]} is no size of pool {white_box.pool}; allowed: {allowed}")
    for overlap in white_box.overlaps:
        whole = round(overlap * sizes[-1])
        if abs(overlap * sizes[-1] - whole) > (1e-6 if whole else 0):
            raise ConfigError(f"{key}.overlaps: {overlap} of {sizes[-1]} images is no whole number of images")
    shared = [round(overlap * sizes[-1]) for overlap in white_box.overlaps]
    if twice := [one for place, one in enumerate(shared) if one in shared[:place]]:
        raise ConfigError(f"{key}.overlaps: two are {twice[0]} of {sizes[-1]} images; allowed: each once")
    if white_box.neighbors > (kept := config.index.neighbors):
        raise ConfigError(
            f"{key}.neighbors: {white_box.neighbors} exceeds index.neighbors = {kept}, the number kept per query"
        )
    smallest = min([*white_box.sizes, sizes[-1]])
    _check_neighbors(f"{key}.neighbors", white_box.neighbors, smallest, "attacker's smallest database")


def _check_neighbors(key: str, neighbors: int, size: int, which: str) -> None:
    """Raises ConfigError for more neighbours than a database has images."""
    if neighbors > size:
        raise ConfigError(f"{key}: {neighbors} exceeds the {size} images of the {which}; allowed: at most {size}")


def _check_defenses(config: Config) -> None:
    for name, defense in config.defenses.items():
        # Results of defences and of layers stand side by side.
        if name in (NO_DEFENSE, NEIGHBORS, *config.features.names):
            raise ConfigError(f"defenses: {name!r} is the name of something else; allowed: any other")
        if defense.kind == NEIGHBORS:
            known(f"defenses.{name}.features", filter(None, [defense.features]), config.features.names)
            _check_neighbors(f"defenses.{name}.k", defense.k, max(config.pools[config.base.pool].values), "database")
        known(f"defenses.{name}.model", [defense.model] if defense.model else [], config.models)
        if "patches" in DEFENSES[defense.kind].needs and config.patches is None:
            raise ConfigError(f"patches: missing, {name} puts images together from them")
    if config.patches:
        known("patches.images", [config.patches.images], config.images)


def _check_base(config: Config) -> None:
    base, votes, attacks = config.base, config.votes, config.attacks
    unaware = [attack for attack in attacks.methods if attack not in AWARE]
    known("base.features", [base.features], config.features.names)
    if config.index.report and is_rmac(base.features):
        raise ConfigError("index.report: base.features is compared by bits, which have no other index; allowed: []")
    if attacks.adaptive and "nothing" in attacks.adaptive.knowledge:
        check_imitated(config)
    known("base.epsilon", [base.epsilon], attacks.values)
    known("base.attack", [base.attack], unaware)
    known("base.space", [base.space], attacks.spaces)
    known("base.pool", [base.pool], config.pools)
    known("base.neighbors", [base.neighbors], votes.neighbors)
    known("base.weighting", [base.weighting], votes.weightings)
    known("base.combination", [base.combination], votes.combinations)
