"""Section `defenses`: what is deployed in the place of the target network, besides the nearest neighbours."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

from pydantic import BeforeValidator, Field

from nndefense.axes.cells import NEIGHBORS, NO_DEFENSE
from nndefense.config.base import Name, Section, Several, Text, registered, union_of, variant, with_default
from nndefense.defenses import DEFENSES

# Defences that have no network but one of their own.
OWN_NETWORK = (
    "nndefense.defenses.retrained:Retrained",
    "nndefense.defenses.retrieval_augmented:RetrievalAugmentedNetwork",
)
# What the workflow hands over to a defence besides its options.
HANDED: dict[str, dict[str, Any]] = {
    NEIGHBORS: {
        "features": (
            str | None,
            Field(None, description="The layer to search by, one of `features.layers` (null = `base.features`)."),
        )
    },
    "srd": {
        "chooser": (
            str | None,
            Field(
                None,
                description="The network whose latents choose the dictionary, one of `models` (null = "
                "`dictionaries.model`).",
            ),
        )
    },
}


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
    tune: dict[Name, Annotated[list[Any], *Several]] | None = Field(
        None,
        description="One option with several values, from the one that changes images least to the one that changes "
        "them most: the last that costs at most `validation.loss` of the clean accuracy, by `validation.images`, is "
        "taken.",
    )
    tuned_as: Name | None = Field(
        None, description="The defence whose choice by `tune` this one takes, too; of the same kind."
    )

    ablation: bool = Field(
        False,
        description="It stands beside others only where it is compared with them, as in `srd/table`: not in table 2, "
        "nor in claims on it, nor among those whose worst case is found unless it is named.",
    )

    @property
    def options(self) -> dict[str, Any]:
        """The options of the defence's class."""
        return self.model_dump(exclude={*DefenseSection.model_fields, *HANDED.get(self.kind, ())})


def _more(name: str, target: str) -> dict[str, Any]:
    asked = (str, Field(description="The network that answers in the target's place, one of `models`."))
    return HANDED.get(name, {}) | ({"model": asked} if target in OWN_NETWORK else {})


def _kinds() -> dict[str, type[Section]]:
    return {
        name: variant(DefenseSection, name, target, optional=True, **_more(name, target))
        for name, target in registered(DEFENSES, NO_DEFENSE).items()
    }


DEFENSE_KINDS = _kinds()
if TYPE_CHECKING:
    Defenses: TypeAlias = dict[str, Any]
else:
    Defenses = Annotated[dict[Name, union_of(DEFENSE_KINDS)], BeforeValidator(with_default("kind", str))]
