"""What is wrong with a configuration, in one line: the key, what stands there, what is allowed."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from typing_extensions import is_typeddict

from nndefense.config.base import Section
from nndefense.core.options import allowed

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 60


@dataclass(frozen=True)
class Spot:
    """A place in the configuration.

    Attributes:
        annotation, metadata: what may stand there, as pydantic has it.
        value: what stands there.
        keys: the way to it.
        variants: where sections are told apart by a discriminator, all of them.
    """

    annotation: Any
    value: Any
    metadata: list[Any] = field(default_factory=list)
    keys: tuple[str, ...] = ()
    variants: tuple[type[Section], ...] = ()

    @property
    def key(self) -> str:
        """`a.b.c: `; empty for the whole configuration."""
        return f"{'.'.join(self.keys)}: " if self.keys else ""

    @property
    def names(self) -> dict[str, Any]:
        """The keys of a section, or the names of a mapping that has given ones."""
        if isinstance(self.annotation, type) and issubclass(self.annotation, BaseModel):
            return self.annotation.model_fields
        return get_type_hints(self.annotation) if is_typeddict(self.annotation) else {}

    def bare(self) -> "Spot":
        """Without annotation's wrappings: its metadata, and null as an alternative."""
        here = self
        while True:
            arguments = get_args(here.annotation)
            if get_origin(here.annotation) is Annotated:
                inner = [part for one in arguments[1:] for part in getattr(one, "metadata", [one])]
                here = replace(here, annotation=arguments[0], metadata=[*inner, *here.metadata])
                continue
            others = [one for one in arguments if one is not NoneType]
            if get_origin(here.annotation) not in (Union, UnionType) or len(others) != 1:
                return here
            here = replace(here, annotation=others[0])

    def below(self, part: str | int) -> "Spot | None":
        """The place that a part of an error's location leads to; None if it is told as a whole."""
        arguments, origin = get_args(self.annotation), get_origin(self.annotation)
        keys = (*self.keys, str(part))
        inside = self.value
        if isinstance(inside, Mapping):
            inside = inside.get(part)
        elif isinstance(inside, list) and isinstance(part, int) and part < len(inside):
            inside = inside[part]
        if origin in (Union, UnionType):
            models = [one for one in arguments if isinstance(one, type) and issubclass(one, Section)]
            chosen = [one for one in models if one.tag() == part]
            return replace(self, annotation=chosen[0], metadata=[], variants=tuple(models)) if chosen else None
        if part in self.names:
            found = self.names[part]
            if is_typeddict(self.annotation):
                return Spot(found, inside, keys=keys)
            return Spot(found.annotation, inside, found.metadata, keys)
        if origin is list:
            return Spot(arguments[0], inside, keys=keys)
        if origin is not None and issubclass(origin, Mapping):
            return Spot(arguments[1], inside, keys=keys)
        return None


def one_line(error: ValidationError, root: type[Section], raw: Any) -> str:
    """The first of a configuration's errors nearest to its root.

    Args:
        error: what pydantic found.
        root: the whole configuration.
        raw: what was given.
    """
    first = min(error.errors(), key=lambda one: len(one["loc"]))
    place, here = first["loc"], Spot(root, raw)
    while place:
        below = here.bare().below(place[0]) if place[1:] != ("[key]",) else None
        if below is None:
            break
        place, here = place[1:], below
    return _flat(_message(first, here, place))


def _flat(message: str) -> str:
    return " ".join(message.split())


def _message(error: Any, here: Spot, rest: tuple[str | int, ...]) -> str:
    kind, spot = error["type"], here.bare()
    if kind == "missing":
        name = rest[0] if rest else spot.keys[-1]
        return f"{replace(spot, keys=spot.keys if rest else spot.keys[:-1]).key}missing key {name!r}"
    if kind in ("extra_forbidden", "invalid_key") and rest:
        return _unknown(spot, rest[0])
    if kind in ("union_tag_invalid", "union_tag_not_found") and isinstance(spot.value, Mapping):
        return _untold(spot)
    if kind == "value_error":
        return f"{spot.key}{error['ctx']['error']}"
    if rest[1:] == ("[key]",):
        names = Spot(get_args(spot.annotation)[0], None)
        return f"{spot.key}{SHORT.repr(rest[0])} is not allowed as a name; allowed: {allowed(names)}"
    wrong = "empty" if kind in ("too_short", "string_too_short") and not spot.value else "not allowed"
    return f"{spot.key}{SHORT.repr(spot.value)} is {wrong}; allowed: {allowed(here)}{_written(spot)}"


def _written(spot: Spot) -> str:
    """How YAML is told what was meant: numbers such as 1e-3 are text to it, and words such as no are none."""
    if spot.annotation is str and isinstance(spot.value, bool | int | float | date):
        return ", in quotes"
    if spot.annotation not in (int, float) or not isinstance(spot.value, str):
        return ""
    try:
        number = float(spot.value)
    except ValueError:
        return ""
    return f", written {number:g} without quotes" if isfinite(number) else ""


def _unknown(spot: Spot, name: Any) -> str:
    if is_typeddict(spot.annotation):
        return f"{spot.key}{name!r} is unknown; allowed: {', '.join(spot.names)}"
    if owners := [one.tag() for one in spot.variants if name in one.model_fields]:
        told, own = spot.annotation.discriminator, spot.annotation.tag()
        return f"{spot.key}{name!r} belongs to {told} {' and '.join(owners)}, not to {own}"
    return f"{spot.key}unknown key {name!r}; allowed: {', '.join(spot.names)}"


def _untold(spot: Spot) -> str:
    models = [one for one in get_args(spot.annotation) if issubclass(one, Section)]
    told, tags = models[0].discriminator, ", ".join(one.tag() for one in models)
    if told in spot.value:
        given = SHORT.repr(spot.value[told])
        return f"{'.'.join([*spot.keys, told])}: {given} is not allowed; allowed: {tags}"
    if models[0].model_fields[told].is_required():
        return f"{spot.key}missing key {told!r}"
    return f"{'.'.join(spot.keys[:-1])}: {spot.keys[-1]!r} is unknown; allowed: {tags}"
