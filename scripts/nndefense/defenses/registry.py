"""Defences by name. Imports no torch until one is made."""

from typing import Any

from nndefense.defenses import DEFENSES
from nndefense.registry import make


def make_defense(name: str, **options: Any) -> Any:
    """A `nndefense.defenses.base.Defense` with the given options.

    Raises ConfigError for an unknown name, an unknown option, or a value out of range.
    """
    return make("defense", DEFENSES, name, options)
