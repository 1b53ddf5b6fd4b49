"""Defences by name. Imports no torch until a defence is made, so a workflow may ask for paths cheaply."""

from dataclasses import fields
from importlib import import_module

from nndefense.defenses import DEFENSES
from nndefense.errors import ConfigError


def _target(name: str) -> tuple[str, str]:
    if name not in DEFENSES:
        raise ConfigError(f"defense {name!r} is unknown; allowed: {', '.join(sorted(DEFENSES))}")
    module, _, attribute = DEFENSES[name].partition(":")
    return module, attribute


def defense_module_path(name: str) -> str:
    """Path of the defence's source file below `scripts/`, e.g. "nndefense/defenses/crop_ensemble.py".

    Raises ConfigError for an unknown name.
    """
    module, _ = _target(name)
    return module.replace(".", "/") + ".py"


def make_defense(name: str, **options):
    """A `nndefense.defenses.base.Defense` with the given options.

    Raises ConfigError for an unknown name, an unknown option, or a value out of range.
    """
    module, attribute = _target(name)
    defense = getattr(import_module(module), attribute)
    allowed = [field.name for field in fields(defense) if field.init]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(f"defense {name!r} has no option {unknown[0]!r}; allowed: {', '.join(allowed)}")
    return defense(**options)
