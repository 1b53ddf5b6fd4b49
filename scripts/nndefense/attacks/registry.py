"""Attacks by name. Imports no torch until one is made."""

from typing import Any

from nndefense.attacks import ATTACKS
from nndefense.registry import make


def make_attack(name: str, **options: Any) -> Any:
    """A `nndefense.attacks.base.Attack` with the given options.

    Raises ConfigError for an unknown name, an unknown option, or a value out of range.
    """
    return make("attack", ATTACKS, name, options)
