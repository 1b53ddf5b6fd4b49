"""Options of one component that do not fit each other: what its class would refuse later, in a job."""

import re
from collections.abc import Iterator
from typing import Any

from nndefense.axes.ball import LINF
from nndefense.config.images import WHOLE
from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError
from nndefense.database.factories import Factory
from nndefense.defenses import PATCH_SIZE
from nndefense.images.published import PUBLISHED
from nndefense.models.blocks import blocks_of


def check_options(config: Config) -> None:
    """Raises ConfigError, one line, for the first that do not fit."""
    for name, section in config.images.items():
        _check_set(f"images.{name}", section)
    for name, model in config.models.items():
        _check_model(f"models.{name}", model)
    for key, methods in _methods(config):
        for name, options in methods.items():
            _check_attack(f"{key}.{name}", options, key.startswith(f"attacks.{LINF}."))
    for name, defense in config.defenses.items():
        _check_defense(f"defenses.{name}", defense)


def _check_set(key: str, section: Any) -> None:
    if whole := getattr(section, WHOLE, None):
        if twice := [one for place, one in enumerate(section.classes) if one in section.classes[:place]]:
            raise ConfigError(f"{key}.classes: {twice[0]!r} stands there twice; allowed: each once")
        _check_set(f"{key}.{WHOLE}", whole)
        return
    size, resize = getattr(section, "size", None), getattr(section, "resize", None)
    if resize is not None and (size is None or resize < size):
        allowed = "null" if size is None else f"null, or at least size = {size}"
        raise ConfigError(f"{key}.resize: {resize}, before {size or 'no size'} is cut out; allowed: {allowed}")
    if resize is not None and getattr(section, "crop", "center") == "none":
        raise ConfigError(f"{key}.resize: {resize}, but nothing is cut out with crop none; allowed: null")
    if section.kind == "torchvision":
        _check_published(key, section)
    if section.kind == "webdataset":
        if section.caption is not None and section.tags is None:
            raise ConfigError(f"{key}.tags: missing, words of caption {section.caption!r} name classes by them")
        if section.tags is not None and section.caption is None and section.label is None:
            raise ConfigError(f"{key}.tags: {section.tags!r} is of no use alone; allowed: with caption or label")
        # Those of a folder's name stand behind a backslash.
        written = re.sub(r"\\.", "", section.pattern)
        if written.count("{") != written.count("}"):
            raise ConfigError(f"{key}.pattern: {section.pattern!r}, braces do not close; allowed: {{00000..00099}}.tar")


def _check_published(key: str, section: Any) -> None:
    side, splits = PUBLISHED[section.name]
    if section.split not in splits:
        raise ConfigError(f"{key}.split: {section.name} has no {section.split}; allowed: {', '.join(splits)}")
    if side is None and section.size is None:
        raise ConfigError(f"{key}.size: missing, images of {section.name} are of many sizes; allowed: an integer >= 8")
    if side is None and section.download:
        raise ConfigError(f"{key}.download: {section.name} asks for a registration; allowed: false")
    if side is not None and section.resize is not None:
        raise ConfigError(f"{key}.resize: images of {section.name} are of one size; allowed: null")
    there, stop = splits[section.split], section.first + (section.rows or 1)
    if stop > there:
        raise ConfigError(f"{key}.rows: images up to {stop:,} of {there:,}; allowed: first and rows within these")


def _check_model(key: str, model: Any) -> None:
    if wrong := [one for one in model.std if one <= 0]:
        raise ConfigError(f"{key}.std: {wrong[0]:g}, which is divided by; allowed: 3 numbers > 0")
    found = re.fullmatch(r"cifar_resnet(\d+)", model.architecture)
    if found and (int(found[1]) < 8 or int(found[1]) % 6 != 2):
        raise ConfigError(f"{key}.architecture: {model.architecture!r}; allowed: a depth of 6n+2, as 8, 14, 20, 56")
    own = found or not blocks_of(model.architecture)
    if model.pretrained and own and blocks_of(model.architecture) is not None:
        raise ConfigError(f"{key}.pretrained: nobody publishes {model.architecture}; allowed: train or weights")
    if model.train and model.train.batch < 2:
        raise ConfigError(f"{key}.train.batch: 1, batch norm needs several images; allowed: an integer >= 2")


def _methods(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping of attacks to their options, and its key."""
    attacks = config.attacks
    yield "attacks.methods", attacks.methods
    if attacks.adaptive:
        yield "attacks.adaptive.methods", attacks.adaptive.methods
    if attacks.linf:
        yield "attacks.linf.methods", attacks.linf.methods
    if config.dictionaries:
        yield "dictionaries.attacks", config.dictionaries.attacks


def _check_attack(key: str, options: Any, pixels: bool) -> None:
    if getattr(options, "random_start", True) is False and options.restarts > 1:
        raise ConfigError(f"{key}.restarts: {options.restarts} that start alike; allowed: 1, or random_start true")
    if pixels and getattr(options, "direction", "sign") != "sign":
        raise ConfigError(f"{key}.direction: {options.direction!r} has no meaning in l-infinity; allowed: sign")
    temperatures = getattr(options, "temperatures", [])
    if twice := [one for place, one in enumerate(temperatures) if one in temperatures[:place]]:
        raise ConfigError(f"{key}.temperatures: {twice[0]:g} stands there twice; allowed: each once")


def _check_defense(key: str, defense: Any) -> None:
    tried = [(key, defense)]
    tried += [
        (f"{key}.tune", defense.model_copy(update={option: value}))
        for option, values in (defense.tune or {}).items()
        for value in values
    ]
    for where, one in tried:
        if one.kind == "median_filter" and one.size % 2 == 0:
            raise ConfigError(f"{where}.size: {one.size}; allowed: an odd number")
        if one.kind == "image_quilting":
            if 2 * one.overlap > PATCH_SIZE:
                raise ConfigError(f"{where}.overlap: {one.overlap}; allowed: at most half of a patch's {PATCH_SIZE}")
            check_probes(where, one.factory, one.nprobe, name="nprobe")


def check_probes(key: str, factory: str, probes: int | None, *, name: str = "probes") -> Factory:
    """What a factory string asks for. Raises ConfigError for another string, and for probes of lists that it lacks."""
    try:
        found = Factory.parse(factory)
    except ConfigError as error:
        raise ConfigError(f"{key}.factory: {error}") from None
    if probes and not found.lists:
        raise ConfigError(f"{key}.{name}: probes are those of an inverted file, {factory!r} has none; allowed: null")
    if probes and probes > found.lists:
        raise ConfigError(f"{key}.{name}: {probes} of {found.lists} lists; allowed: 1 to {found.lists}, or null")
    return found
