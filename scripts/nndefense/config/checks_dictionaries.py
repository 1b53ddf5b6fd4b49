"""References of sections `validation` and `dictionaries`, and of defences that are chosen or learnt by them."""

from typing import Any

from pydantic import ValidationError

from nndefense.config.base import known
from nndefense.config.checks_retrieval import is_embedding
from nndefense.config.defenses import DefenseSection
from nndefense.config.models import CLUSTERED
from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError
from nndefense.core.options import allowed

PURIFIER, AUGMENTED = "srd", "racnn"


def check_tuning(config: Config) -> None:
    """Raises ConfigError, one line, where an option is chosen that cannot be."""
    if config.validation:
        known("validation.images", [config.validation.images], config.images)
    for name, defense in config.defenses.items():
        key = f"defenses.{name}"
        if defense.tune and defense.tuned_as:
            raise ConfigError(f"{key}: tune and tuned_as; allowed: one of them")
        if (defense.tune or defense.tuned_as) and config.validation is None:
            raise ConfigError(f"validation: missing, {key} is tuned on its images")
        if defense.tune is not None:
            _check_values(f"{key}.tune", defense)
        if defense.tuned_as:
            able = [one for one, other in config.defenses.items() if other.tune and other.kind == defense.kind]
            known(f"{key}.tuned_as", [defense.tuned_as], able)


def _check_values(key: str, defense: DefenseSection) -> None:
    if len(defense.tune) != 1:
        raise ConfigError(f"{key}: {len(defense.tune)} options; allowed: one of {', '.join(defense.options) or 'none'}")
    ((option, values),) = defense.tune.items()
    known(key, [option], defense.options)
    for value in values:
        try:
            with_option(defense, option, value)
        except ValidationError:
            wanted = allowed(type(defense).model_fields[option])
            # As it is in the file, where a whole number may have been a float.
            told = float(value) if wanted.startswith("a number") and isinstance(value, int) else value
            raise ConfigError(f"{key}.{option}: {told!r} is not allowed; allowed: {wanted}") from None


def with_option(defense: DefenseSection, option: str, value: Any) -> DefenseSection:
    """The defence with a value of an option, in the form of its type. Raises pydantic's ValidationError."""
    return type(defense).model_validate({**defense.model_dump(), option: value})


def tuned_in_form(defense: DefenseSection) -> DefenseSection:
    """The defence with the values of `tune` in the form of the option's type, so that 1 and 1.0 give one file."""
    if not defense.tune:
        return defense
    tune = {
        option: [getattr(with_option(defense, option, value), option) for value in values]
        for option, values in defense.tune.items()
    }
    return defense.model_copy(update={"tune": tune})


def check_dictionaries(config: Config) -> None:
    """Raises ConfigError, one line, where dictionaries do not fit the other sections."""
    section = config.dictionaries
    if section:
        known("dictionaries.images", [section.images], config.images)
        known("dictionaries.model", [section.model] if section.model else [], config.models)
    for name, model in config.models.items():
        if model.train and model.train.method == CLUSTERED:
            _check_clustered(config, name)
    srd = {name: one for name, one in config.defenses.items() if one.kind == PURIFIER}
    if section is None:
        if srd:
            raise ConfigError(f"dictionaries: missing, defenses.{next(iter(srd))} purifies by them")
        return
    known("dictionaries.table", section.table, config.defenses)
    known("dictionaries.shown", [section.shown], [name for name in srd if name in section.table])
    known("dictionaries.epsilons", section.values, config.attacks.values)
    if "gray_box" not in config.attacks.settings:
        raise ConfigError("attacks.settings: gray_box is missing, section dictionaries compares defences in it")
    for name, one in srd.items():
        known(f"defenses.{name}.chooser", [one.chooser] if one.chooser else [], config.models)
        if one.tune and "oracle" in (one.choice, *one.tune.get("choice", [])):
            raise ConfigError(f"defenses.{name}.tune: an oracle knows nothing of validation images; allowed: tuned_as")
    _check_latents(config, srd)
    _check_attacks(config)
    if section.learning.crop and section.learning.crop < (least := 2 * section.learning.size - 1):
        raise ConfigError(
            f"dictionaries.learning.crop: {section.learning.crop} is too small for filters of "
            f"{section.learning.size} pixels; allowed: {least} or more"
        )


def _check_latents(config: Config, srd: dict[str, Any]) -> None:
    """Latents are compared between networks, so these are of one architecture."""
    source = config.dictionaries.model or config.target
    used = {"dictionaries.model": source}
    used |= {f"defenses.{name}.chooser": one.chooser for name, one in srd.items() if one.chooser}
    wanted = config.models[source].architecture
    for key, model in used.items():
        own = config.models[model].architecture
        if is_embedding(config, model) or own == AUGMENTED:
            raise ConfigError(f"{key}: {model} has no latents of classes; allowed: a plain classifier")
        if own != wanted:
            raise ConfigError(f"{key}: {model} is a {own}, {source} a {wanted}; allowed: one architecture")


def _check_attacks(config: Config) -> None:
    """An attack that stands in two sections is one attack."""
    through = config.attacks.adaptive.methods if config.attacks.adaptive else {}
    for name, options in config.dictionaries.attacks.items():
        if name in through and through[name] != options:
            raise ConfigError(
                f"dictionaries.attacks.{name}: attacks.adaptive.methods has other options; allowed: the same"
            )


def _check_clustered(config: Config, name: str) -> None:
    key, section = f"models.{name}.train", config.dictionaries
    if section is None:
        raise ConfigError(f"dictionaries: missing, {key} needs the clusters of its images")
    recipe = config.models[name].train
    if recipe.images != section.images:
        raise ConfigError(f"{key}.images: {recipe.images!r} has no clusters; allowed: {section.images}")
    source = section.model or config.target
    pending = [source]
    while pending:
        one = config.models.get(pending.pop())
        if one and one.train and one.train.method == CLUSTERED:
            raise ConfigError(f"{key}: its clusters are of {source}, which is trained from clusters itself")
        pending += one.trained_from if one else []
    if (own := config.models[name].architecture) != config.models[source].architecture:
        other = config.models[source].architecture
        raise ConfigError(f"models.{name}.architecture: {own} has other latents than {source}; allowed: {other}")
