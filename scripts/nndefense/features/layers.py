"""Names of feature layers: `conv_{stage}_{block}`, counted as in He et al. 2016.

Stage 1 is the stem, so torchvision's layer1 is stage 2; blocks count from 1 (Dubey et al. 2019, Appendix B).
"""

import re

from torch import nn

from nndefense.errors import ConfigError


def parse_layer(name: str) -> tuple[int, int]:
    """`conv_{stage}_{block}` -> (stage, block). Raises ConfigError for other names."""
    found = re.fullmatch(r"conv_([2-9])_([1-9]\d*)", name)
    if not found:
        raise ConfigError(f"layer {name!r}: a name such as conv_5_1 is needed, conv_(stage from 2)_(block from 1)")
    return int(found.group(1)), int(found.group(2))


def available_layers(model: nn.Module) -> list[str]:
    """Names of all residual blocks of a ResNet (or of a `Standardized` one), from the input to the output."""
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
    if layer not in allowed:
        architecture = getattr(model, "architecture", type(model).__name__)
        raise ConfigError(f"layer {layer!r}: not in {architecture}; allowed: {', '.join(allowed) or 'none'}")
    net = getattr(model, "net", model)
    return getattr(net, f"layer{stage - 1}")[block - 1]
