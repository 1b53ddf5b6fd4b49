"""The configuration: validated against the schema, defaults filled in, references checked.

Imported while Snakemake parses the workflow, so it imports nothing heavy.
"""

import copy
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from nndefense.attacks import ATTACKS
from nndefense.defenses import DEFENSES
from nndefense.errors import ConfigError
from nndefense.models.architectures import architecture_entry


def read_schema(path: str | Path) -> dict[str, Any]:
    """The JSON schema of the configuration, stored as YAML."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def _with_defaults(validator_class: Any) -> Any:
    """A validator that also fills in the defaults of absent properties.

    A property with `methods` is allowed, and gets its default, where `method` (a property before it) is one of these.
    """
    check_properties = validator_class.VALIDATORS["properties"]

    def fill(validator: Any, properties: Any, instance: Any, schema: Any) -> Iterable[Any]:
        if isinstance(instance, dict):
            for name, part in properties.items():
                methods, method = part.get("methods"), instance.get("method")
                if methods and method not in methods:
                    if name in instance and method in properties["method"]["enum"]:
                        problem = f"{name!r} belongs to method {' and '.join(methods)}, not to {method}"
                        yield jsonschema.ValidationError(problem)
                elif "default" in part:
                    instance.setdefault(name, copy.deepcopy(part["default"]))
        yield from check_properties(validator, properties, instance, schema)

    return jsonschema.validators.extend(validator_class, {"properties": fill})


def validate_config(config: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Check `config` in place, fill in defaults, check references between keys; returns it.

    Raises ConfigError with one line that names the key, what is wrong, and what is allowed.
    """
    validator = _with_defaults(jsonschema.Draft202012Validator)(schema)
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.absolute_path), str(error.path)))
    if errors:
        raise ConfigError(_one_line(errors[0]))
    _check_references(config)
    _check_retrieval(config)
    _check_training(config["models"])
    _check_sizes(config)
    _check_base(config)
    _resolve_paths(config)
    return config


def _one_line(error: jsonschema.ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path) or "configuration"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        allowed = error.schema.get("properties", {})
        unknown = [name for name in error.instance if name not in allowed]
        return f"{key}: unknown key {', '.join(map(repr, unknown))}; allowed: {', '.join(allowed)}"
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{key}: missing key {', '.join(map(repr, missing))}"
    if error.validator == "oneOf":
        names = [name for part in error.validator_value for name in part.get("required", [])]
        return f"{key}: needs exactly one of {', '.join(names)}"
    if error.validator == "enum":
        return f"{key}: {error.instance!r} is not allowed; allowed: {', '.join(map(str, error.validator_value))}"
    return f"{key}: {error.message}"


def _check_name(key: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        raise ConfigError(f"{key}: {name!r} is unknown; allowed: {', '.join(map(str, known))}")


def _check_architecture(key: str, name: str) -> None:
    try:
        architecture_entry(name)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _check_references(config: Mapping[str, Any]) -> None:
    images, models = config["images"], config["models"]
    _check_name("queries.images", config["queries"]["images"], images)
    for key in ("target", "surrogate"):
        _check_name(key, config[key], models)
    for name, model in models.items():
        _check_architecture(f"models.{name}", model["architecture"])
        if "train" in model:
            _check_name(f"models.{name}.train.images", model["train"]["images"], images)
    for name, pool in config["pools"].items():
        for image_set in pool["images"]:
            _check_name(f"pools.{name}.images", image_set, images)
    if "image_quilting" in config["defenses"]:
        if config["patches"] is None:
            raise ConfigError("patches: missing, image_quilting puts images together from them")
        _check_name("patches.images", config["patches"]["images"], images)
    for attack in config["attacks"]["methods"]:
        _check_name("attacks.methods", attack, ATTACKS)
    for defense, options in config["defenses"].items():
        _check_name("defenses", defense, DEFENSES)
        if "model" in options:
            _check_name(f"defenses.{defense}.model", options["model"], models)
    for name in (config["linf"] or {}).get("networks", []):
        _check_name("linf.networks", name, models)
    for pool in config["features"]["ablation_pools"] or []:
        _check_name("features.ablation_pools", pool, config["pools"])
    for layer in config["features"]["pooled"]:
        _check_name("features.pooled", layer, config["features"]["layers"])


def _check_training(models: Mapping[str, Any]) -> None:
    """What models are trained from: known, of a fitting architecture, and none in the end from itself."""
    for name, model in models.items():
        recipe = model.get("train", {})
        for key in ("initial", "sources"):
            named = recipe.get(key) or []
            for other in [named] if isinstance(named, str) else named:
                _check_name(f"models.{name}.train.{key}", other, models)
        if recipe.get("initial") and models[recipe["initial"]]["architecture"] != model["architecture"]:
            other = models[recipe["initial"]]["architecture"]
            raise ConfigError(f"models.{name}.train.initial: {other} cannot start a {model['architecture']}")
    for name in models:
        _check_cycle(models, [name])


def _check_retrieval(config: Mapping[str, Any]) -> None:
    """Retrieval-augmented networks: their architecture, the extractor, the database."""
    models = config["models"]
    for name, model in models.items():
        recipe, key = model.get("train", {}), f"models.{name}.train"
        augmented = recipe.get("method") == "retrieval_augmented"
        if augmented != (model["architecture"] == "racnn"):
            raise ConfigError(f"models.{name}: architecture racnn and method retrieval_augmented need each other")
        if not augmented:
            continue
        if missing := [one for one in ("extractor", "database") if one not in recipe]:
            raise ConfigError(f"{key}: missing key {missing[0]!r}, which method retrieval_augmented needs")
        _check_name(f"{key}.extractor", recipe["extractor"], [one for one in models if one != name])
        extractor = models[recipe["extractor"]]
        if extractor["architecture"] == "racnn":
            raise ConfigError(f"{key}.extractor: {recipe['extractor']} is a racnn itself, which finds no features")
        for statistic in ("mean", "std"):
            if model[statistic] != extractor[statistic]:
                raise ConfigError(f"models.{name}.{statistic}: must be that of {recipe['extractor']}, the extractor")
        if recipe["initial"]:
            raise ConfigError(f"{key}.initial: training starts from the extractor, leave this out")
        if recipe["use_labels"] and recipe["finetune"] and recipe["mixup"]:
            raise ConfigError(f"{key}.use_labels: local mixup would be told the mixed label; allowed: with mixup 0")
        _check_retrieval_database(key, recipe, config["images"])


def _check_retrieval_database(key: str, recipe: Mapping[str, Any], images: Mapping[str, Any]) -> None:
    source, rows = recipe["database"]["images"], recipe["database"]["rows"]
    _check_name(f"{key}.database.images", source, images)
    there = images[source].get("rows")
    if rows and there and rows > there:
        raise ConfigError(f"{key}.database.rows: {rows} exceeds the {there} images of {source}")
    # An image of the database is no neighbour of its own.
    held = rows or there
    if held and recipe["neighbors"] >= held:
        raise ConfigError(f"{key}.neighbors: {recipe['neighbors']} needs a database of more images than {held}")


def _check_cycle(models: Mapping[str, Any], path: list[str]) -> None:
    for other in trained_from(models[path[-1]]):
        if other in path:
            cycle = " -> ".join([*path[path.index(other) :], other])
            raise ConfigError(f"models.{other}.train: a model cannot be trained from itself ({cycle})")
        _check_cycle(models, [*path, other])


def trained_from(model: Mapping[str, Any]) -> list[str]:
    """Names of the models that must be there before this one is trained."""
    recipe = model.get("train", {})
    named = [recipe.get("initial"), recipe.get("extractor"), *recipe.get("sources", [])]
    return list(dict.fromkeys(name for name in named if name))


def _check_sizes(config: Mapping[str, Any]) -> None:
    for name, pool in config["pools"].items():
        drawn = [config["images"][image_set] for image_set in pool["images"]]
        if any(one["kind"] != "shapes" for one in drawn):
            continue
        rows = sum(one["rows"] for one in drawn)
        largest = max(pool.get("sizes", config["sizes"]))
        if largest > rows:
            raise ConfigError(f"pools.{name}: the largest size {largest} exceeds the pool's {rows} images")


def _check_base(config: Mapping[str, Any]) -> None:
    base, votes, attacks = config["base"], config["votes"], config["attacks"]
    kept = config["index"]["neighbors"]
    if max(votes["neighbors"]) > kept:
        raise ConfigError(
            f"votes.neighbors: {max(votes['neighbors'])} exceeds index.neighbors = {kept}, the number kept per query"
        )
    _check_name("base.features", base["features"], config["features"]["layers"])
    _check_name("base.epsilon", base["epsilon"], attacks["epsilons"])
    _check_name("base.attack", base["attack"], attacks["methods"])
    _check_name("base.space", base["space"], attacks["spaces"])
    _check_name("base.neighbors", base["neighbors"], votes["neighbors"])
    _check_name("base.weighting", base["weighting"], votes["weightings"])
    _check_name("base.combination", base["combination"], votes["combinations"])


def _resolve_paths(config: Mapping[str, Any]) -> None:
    for image_set in config["images"].values():
        if "root" in image_set:
            image_set["root"] = _below(config["data"], image_set["root"])
    for model in config["models"].values():
        if "weights" in model:
            model["weights"] = _below(config["data"], model["weights"])


def _below(folder: str, path: str) -> str:
    folder, path = (os.path.expanduser(os.path.expandvars(part)) for part in (folder, path))
    return os.path.normpath(os.path.join(folder, path))
