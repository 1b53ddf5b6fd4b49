"""The residual blocks of a ResNet by the name of their layer (see `nndefense.features.names`)."""

from torch import nn

from nndefense.core.errors import ConfigError
from nndefense.features.names import block_name, parse_layer


def available_layers(model: nn.Module) -> list[str]:
    """Names of all residual blocks of a ResNet (or of a `Standardized` one), from the input to the output.

    Each may also be asked for with `-RMAC` behind its name.
    """
    net = getattr(model, "net", model)
    names = []
    stage = 2
    while isinstance(blocks := getattr(net, f"layer{stage - 1}", None), nn.Sequential):
        names += [f"conv_{stage}_{block}" for block in range(1, len(blocks) + 1)]
        stage += 1
    return names


def default_layers(model: nn.Module) -> list[str]:
    """The paper's choice at any depth: the last block of stages 2 to 4, and the first of stage 5."""
    last: dict[int, str] = {}
    for name in available_layers(model):
        stage, block = parse_layer(name)
        if stage < 5 or block == 1:
            last[stage] = name
    return list(last.values())


def find_block(model: nn.Module, layer: str) -> nn.Module:
    """The residual block of a layer. Raises ConfigError for a layer that the model lacks."""
    stage, block = parse_layer(layer)
    allowed = available_layers(model)
    if block_name(layer) not in allowed:
        architecture = getattr(model, "architecture", type(model).__name__)
        raise ConfigError(f"layer {layer!r}: not in {architecture}; allowed: {', '.join(allowed) or 'none'}")
    net = getattr(model, "net", model)
    return getattr(net, f"layer{stage - 1}")[block - 1]
