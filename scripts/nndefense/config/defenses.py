"""Section `defenses`: what is deployed in the place of the target network, besides the nearest neighbours."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.config.base import Name, Section, Text, registered, union_of, variant, with_default
from nndefense.defenses import DEFENSES

# Defences that have no network but one of their own.
OWN_NETWORK = (
    "nndefense.defenses.retrained:Retrained",
    "nndefense.defenses.retrieval_augmented:RetrievalAugmentedNetwork",
)


class DefenseSection(Section):
    """A defence."""

    discriminator: ClassVar[str] = "kind"

    kind: str = Field(description="Which one (left out: the one of that name).")
    label: Text | None = Field(None, description="What tables and figures call it (null = as its kind).")
    model: str | None = Field(
        None,
        description="The network that it asks, one of `models` (null = the target). Required where the defence is a "
        "network of its own.",
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options of the defence's class."""
        return self.model_dump(exclude=set(DefenseSection.model_fields))


def _kinds() -> dict[str, type[Section]]:
    asked = (str, Field(description="The network that answers in the target's place, one of `models`."))
    return {
        name: variant(
            DefenseSection, name, target, optional=True, **({"model": asked} if target in OWN_NETWORK else {})
        )
        for name, target in registered(DEFENSES, NO_DEFENSE, NEIGHBORS).items()
    }


DEFENSE_KINDS = _kinds()
Defenses = Annotated[dict[Name, union_of(DEFENSE_KINDS)], BeforeValidator(with_default("kind", str))]
