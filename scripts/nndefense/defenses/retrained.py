"""Defences that are networks of their own, trained to resist: their probabilities as they are."""

from dataclasses import dataclass

from nndefense.defenses.none import NoDefense


@dataclass(frozen=True, kw_only=True)
class Retrained(NoDefense):
    """The network that `defenses.{name}.model` names answers in the target's place."""
