"""Making something from a registry: a dictionary of `name: "module:Class"`, whose classes are dataclasses of options.

The module is imported when the name is used.
"""

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from nndefense.errors import ConfigError


def make(kind: str, registry: Mapping[str, str], name: str, options: Mapping[str, Any]) -> Any:
    """The registered class with the given options; `kind` is what messages call it.

    Raises ConfigError for an unknown name, an unknown option, or a value out of range.
    """
    if name not in registry:
        raise ConfigError(f"{kind} {name!r} is unknown; allowed: {', '.join(sorted(registry))}")
    module, _, attribute = registry[name].partition(":")
    found = getattr(import_module(module), attribute)
    allowed = [field.name for field in fields(found) if field.init]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(f"{kind} {name!r} has no option {unknown[0]!r}; allowed: {', '.join(allowed)}")
    return found(**options)
