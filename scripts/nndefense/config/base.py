"""What all sections of the configuration are made of."""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field, create_model
from pydantic_core import PydanticUndefined

from nndefense.core.errors import ConfigError
from nndefense.core.options import STRICT, read_options, read_summary
from nndefense.core.registry import Entry


class Section(BaseModel):
    """A mapping of the configuration: frozen, of the exact types, without unknown keys.

    Attributes:
        discriminator: the key that tells which of several sections stands there; "" where there is only one.
    """

    model_config = STRICT
    discriminator: ClassVar[str] = ""

    @classmethod
    def tag(cls) -> str:
        """The value of the discriminator that this section has."""
        return cls.model_fields[cls.discriminator].annotation.__args__[0]


# In names of files, several of them together.
Name = Annotated[str, Field(pattern="^[A-Za-z0-9_]{1,64}$")]
Text = Annotated[str, Field(min_length=1)]


def flat(values: list[Any]) -> list[Any]:
    """[1, [2, 3]] -> [1, 2, 3]."""
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _each_once(values: list[Any]) -> list[Any]:
    # One value is another's equal, however it is written: 1 is 1.0.
    found = flat(values)
    if twice := [one for place, one in enumerate(found) if one in found[:place]]:
        raise ValueError(f"{twice[0]!r} stands there twice; allowed: each once")
    return values


Several = [Field(min_length=1), AfterValidator(_each_once)]
Distinct = AfterValidator(_each_once)


def variant(base: type[Section], tag: str, target: str = "", *, optional: bool = False, **more: Any) -> type[Section]:
    """The section of a registered component: the keys of `base`, and the options that its class declares.

    Args:
        base: a section with a discriminator.
        tag: the discriminator's value.
        target: "module:Class"; "" for one without options.
        optional: whether the discriminator may be left out.
        more: keys besides, as pairs of annotation and default.
    """
    field = base.model_fields[base.discriminator]
    default = tag if optional else PydanticUndefined
    told = (Literal[tag], Field(default, description=field.description))
    return create_model(
        f"{base.__name__}_{tag}",
        __base__=base,
        __doc__=read_summary(target) if target else base.__doc__,
        **{base.discriminator: told, **(read_options(target) if target else {}), **more},
    )


def union_of(variants: Mapping[str, type[Section]]) -> Any:
    """Any of these sections, told apart by their discriminator."""
    models = list(variants.values())
    return Annotated[reduce(or_, models), Field(discriminator=models[0].discriminator)]


def with_default(key: str, default: Callable[[str], str]) -> Callable[[Any], Any]:
    """A validator that gives the mappings of a mapping a key where they lack it; default: of the mapping's name."""

    def fill(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {key: default(name), **one} if isinstance(one, dict) else one for name, one in value.items()}

    return fill


def registered(registry: Mapping[str, Entry], *without: str) -> dict[str, str]:
    """Targets of a registry's entries by name, without some."""
    return {name: entry.target for name, entry in registry.items() if name not in without}


def known(key: str, names: Iterable[Any], allowed: Iterable[Any]) -> None:
    """Raises ConfigError for the first of the names that is not allowed."""
    allowed = list(allowed)
    for name in names:
        if name not in allowed:
            raise ConfigError(f"{key}: {name!r} is unknown; allowed: {', '.join(map(str, allowed)) or 'none'}")
