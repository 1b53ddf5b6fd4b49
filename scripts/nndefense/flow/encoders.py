"""Which network gives a layer's features, and which layers come from one forward pass."""

from collections.abc import Iterable

from nndefense.axes.cells import NEIGHBORS
from nndefense.config import Config
from nndefense.config.checks_encoders import encoder_of
from nndefense.flow.memo import once


def encoders(config: Config, layers: Iterable[str] | None = None) -> list[str]:
    """The models that layers are of (None: all of `features.layers`), each once."""
    return list(dict.fromkeys(encoder_of(config, one) for one in (config.features.names if layers is None else layers)))


def layer_place(config: Config, layer: str) -> str:
    """Folder of a layer's files within those of features, codes, PCAs, indexes and neighbours."""
    return f"{encoder_of(config, layer)}/{layer}"


@once
def passes_of(config: Config) -> list[list[str]]:
    """Layers that share a forward pass; those of the target come first, whose first pass gives the softmax rows.

    Where none is of the target, the first pass has no layers.
    """
    found = config.features.passes
    own = [layers for layers in found if encoder_of(config, layers[0]) == config.target] or [[]]
    return [*own, *(layers for layers in found if layers not in own)]


def pass_encoder(config: Config, number: int) -> str:
    """The model of a pass."""
    layers = passes_of(config)[number]
    return encoder_of(config, layers[0]) if layers else config.target


def searched_layers(config: Config) -> dict[str, str]:
    """The layer that each nearest-neighbour defence searches by, the deployed one first."""
    others = {name: one for name, one in config.defenses.items() if one.kind == NEIGHBORS}
    base = config.base.features
    return {NEIGHBORS: base, **{name: one.features or base for name, one in others.items()}}
