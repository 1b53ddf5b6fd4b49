"""Registries: dictionaries of `name: Entry(...)` that name a component, what it is called in print, and what it needs.

A component is imported when it is made, so that a registry costs nothing to read.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from inspect import signature
from typing import Any

from nndefense.core.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """A registered component.

    Attributes:
        target: "module:name" of the class (or function) that it is.
        label: what tables and figures call it.
        needs: names of `nndefense.flow.needs.NEEDS` that it cannot do without: files that the workflow makes.
        balls: of an attack, names of the balls (`nndefense.axes.ball.BALLS`) that it works in.
    """

    target: str
    label: str
    needs: tuple[str, ...] = ()
    balls: tuple[str, ...] = ("raw01", "standardized", "linf")

    @property
    def module(self) -> str:
        """The module of the target."""
        return self.target.partition(":")[0]

    def load(self) -> Any:
        """The target, imported."""
        return load(self.target)


def load(target: str) -> Any:
    """What "module:name" names, imported. ConfigError where that is of somebody else's package and cannot be."""
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        if module.partition(".")[0] == __name__.partition(".")[0]:
            raise
        raise ConfigError(f"{target}: cannot be imported ({error})") from None


def make(kind: str, registry: Mapping[str, Entry], name: str, options: Mapping[str, Any]) -> Any:
    """The registered class with the given options.

    Args:
        kind: what messages call the registry's components, e.g. "attack".
        registry: name -> Entry.
        name: a key of the registry.
        options: keyword arguments of the class.

    Raises:
        ConfigError: an unknown name, an unknown or missing option, or a value out of range.
    """
    if name not in registry:
        raise ConfigError(f"{kind} {name!r} is unknown; allowed: {', '.join(registry)}")
    found = registry[name].load()
    if is_dataclass(found):
        known = [one.name for one in fields(found) if one.init]
        required = [one.name for one in fields(found) if one.init and one.default is one.default_factory is MISSING]
    else:
        parameters = signature(found).parameters.values()
        known = [one.name for one in parameters]
        required = [one.name for one in parameters if one.default is one.empty]
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(f"{kind} {name!r} has no option {unknown[0]!r}; allowed: {', '.join(known) or 'none'}")
    if missing := [one for one in required if one not in options]:
        raise ConfigError(f"{kind} {name!r} needs the option {missing[0]!r}")
    return found(**options)
