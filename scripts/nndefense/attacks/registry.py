"""Attacks by name. Imports no torch until an attack is made, so a workflow may ask for paths cheaply."""

from dataclasses import fields
from importlib import import_module

from nndefense.attacks import ATTACKS
from nndefense.errors import ConfigError


def _target(name: str) -> tuple[str, str]:
    if name not in ATTACKS:
        raise ConfigError(f"attack {name!r} is unknown; allowed: {', '.join(sorted(ATTACKS))}")
    module, _, attribute = ATTACKS[name].partition(":")
    return module, attribute


def attack_module_path(name: str) -> str:
    """Path of the attack's source file below `scripts/`, e.g. "nndefense/attacks/pgd.py".

    Raises ConfigError for an unknown name.
    """
    module, _ = _target(name)
    return module.replace(".", "/") + ".py"


def make_attack(name: str, **options):
    """An `nndefense.attacks.base.Attack` with the given options.

    Raises ConfigError for an unknown name, an unknown option, or a value out of range.
    """
    module, attribute = _target(name)
    attack = getattr(import_module(module), attribute)
    allowed = [field.name for field in fields(attack) if field.init]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ConfigError(f"attack {name!r} has no option {unknown[0]!r}; allowed: {', '.join(allowed)}")
    return attack(**options)
