"""References of section `retrieval`, and of networks that are embeddings, to other sections."""

from collections.abc import Iterator

from nndefense.config.base import known
from nndefense.config.models import EMBEDDING, METRIC
from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError


def is_embedding(config: Config, model: str) -> bool:
    """Whether a model's outputs are an embedding, and no classes."""
    recipe = config.models[model].train
    return recipe is not None and recipe.method in EMBEDDING


def check_embeddings(config: Config) -> None:
    """Raises ConfigError where a network that tells no classes is asked for some, or cannot learn."""
    for name, model in config.models.items():
        if (
            is_embedding(config, name)
            and model.train.method == METRIC
            and model.train.batch < 2 * model.train.per_class
        ):
            own, most = model.train.per_class, model.train.batch // 2
            raise ConfigError(
                f"models.{name}.train.per_class: a batch of {model.train.batch} has no room for {own} images of two "
                f"classes; allowed: at most {most}"
            )
    for key, named in classifiers(config):
        if named in config.models and is_embedding(config, named):
            method = config.models[named].train.method
            raise ConfigError(f"{key}: {named} is trained by {method} and tells no classes; allowed: a classifier")


def classifiers(config: Config) -> Iterator[tuple[str, str]]:
    """Keys that name a classifier, and the model that they name."""
    named = [("target", config.target), ("surrogate", config.surrogate)]
    named += [(f"defenses.{name}.model", one.model) for name, one in config.defenses.items()]
    if config.attacks.adaptive:
        named += [("attacks.adaptive.surrogates", name) for name in config.attacks.adaptive.surrogates]
    for name, model in config.models.items():
        # An embedding may start from whatever has its architecture.
        keys = () if is_embedding(config, name) else ("extractor", "initial", "sources")
        for key in keys:
            found = getattr(model.train, key, None) or []
            named += [(f"models.{name}.train.{key}", one) for one in ([found] if isinstance(found, str) else found)]
    yield from ((key, model) for key, model in named if model)


def check_retrieval(config: Config) -> None:
    """Raises ConfigError, one line, where tasks and embeddings do not fit the other sections."""
    section = config.retrieval
    if section is None:
        return
    for name, task in section.tasks.items():
        for side in ("gallery", "queries"):
            known(f"retrieval.tasks.{name}.{side}", [getattr(task, side)], config.images)
        if task.gallery == task.queries and None in (task.gallery_count, task.queries_count):
            raise ConfigError(
                f"retrieval.tasks.{name}: gallery and queries are both of {task.gallery}, "
                "so gallery_count and queries_count must say how many"
            )
    for name, one in section.embeddings.items():
        key = f"retrieval.embeddings.{name}"
        known(f"{key}.model", [one.model], config.models)
        known(f"{key}.tasks", one.tasks or [], section.tasks)
        if (one.output == "output") != is_embedding(config, one.model):
            allowed = "output" if is_embedding(config, one.model) else "features, softmax"
            raise ConfigError(f"{key}.output: {one.output} does not fit the model {one.model}; allowed: {allowed}")
        if one.fit:
            known(f"{key}.fit", [one.fit], config.images)
        elif config.models[one.model].train is None and one.transform != "none":
            sets = ", ".join(config.images)
            raise ConfigError(f"{key}.fit: missing, {one.model} is not trained here; allowed: {sets}")
