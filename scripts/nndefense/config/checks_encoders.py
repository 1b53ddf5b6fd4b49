"""References of layers to the networks that they are of, and what these networks must be."""

import re
from collections.abc import Iterable

from nndefense.config.base import known
from nndefense.config.checks_retrieval import classifiers
from nndefense.config.sections import Config
from nndefense.core.errors import ConfigError
from nndefense.features.names import parse_layer
from nndefense.models.architectures import library_of
from nndefense.models.blocks import blocks_of

AUGMENTED = "racnn"
# What ResNets consist of.
_MODULES = re.compile(r"(conv1|bn1|relu|maxpool|avgpool|fc|linear|layer[1-4](\..+)?)$")


def check_layers(key: str, architecture: str, names: Iterable[str]) -> None:
    """Raises ConfigError for a layer that a network does not have, where its blocks are known."""
    blocks = blocks_of(architecture)
    for name in names if blocks is not None else ():
        layer = parse_layer(name)
        if layer.block is None and (not blocks or _MODULES.match(layer.module)):
            continue
        stage, block = layer.block or (0, 0)
        if not 0 <= stage - 2 < len(blocks) or block > blocks[stage - 2]:
            ends = ((f"conv_{place}_1", f"conv_{place}_{count}") for place, count in enumerate(blocks, 2))
            layers = ", ".join(" to ".join(dict.fromkeys(one)) for one in ends)
            raise ConfigError(f"{key}: {architecture} has no {name}; allowed: {layers or 'another network'}")


def encoder_of(config: Config, layer: str) -> str:
    """The model that a layer is of: the one that its name says, or `features.encoder`, or the target."""
    return parse_layer(layer).encoder or config.features.encoder or config.target


def check_encoders(config: Config) -> None:
    """Raises ConfigError for layers of models that are not there, lack them, or do not share a forward pass."""
    features = config.features
    known("features.encoder", [features.encoder] if features.encoder else [], config.models)
    for layers in features.passes:
        names = [encoder_of(config, layer) for layer in layers]
        known("features.layers", names, config.models)
        if len(set(names)) > 1:
            raise ConfigError(
                f"features.layers: {layers[0]} and {layers[[name != names[0] for name in names].index(True)]} share a "
                "forward pass, but are of different models; allowed: a list for each"
            )
        model = config.models[names[0]]
        if model.architecture == AUGMENTED:
            raise ConfigError(f"features.layers: {names[0]} is a {AUGMENTED}; allowed: layers of its extractor")
        check_layers("features.layers", model.architecture, layers)


def check_imitated(config: Config) -> None:
    """Raises ConfigError where an attacker without the encoder cannot build a retrieval by the same layer."""
    layer, key = config.base.features, "attacks.adaptive.knowledge"
    if encoder_of(config, layer) != config.target:
        raise ConfigError(
            f"{key}: 'nothing' asks for layer {layer} of the surrogate, which is another network; allowed: without it, "
            "or base.features of the target"
        )
    check_layers(key, config.models[config.surrogate].architecture, [layer])


def check_classes(config: Config) -> None:
    """Raises ConfigError where a network that tells other classes, or none, is asked for the task's."""
    for name, model in config.models.items():
        key, tower = f"models.{name}", library_of(model.architecture) == "open_clip"
        if model.train and model.classes not in (None, config.classes):
            raise ConfigError(f"{key}.classes: {model.classes}, but it is trained here on other classes; allowed: null")
        if model.resize and model.train:
            raise ConfigError(f"{key}.resize: is for weights that are there; allowed: images of that size, or null")
        if model.zero_shot and not tower:
            raise ConfigError(f"{key}.zero_shot: {model.architecture} reads no texts; allowed: open_clip/NAME")
        if model.zero_shot and model.train:
            raise ConfigError(f"{key}.zero_shot: is made of weights, not trained; allowed: weights or pretrained")
        if tower and not (model.zero_shot or model.classes == 0 or model.train):
            raise ConfigError(f"{key}: has no classes of its own; allowed: zero_shot, or classes: 0 for an encoder")
    for key, name in classifiers(config):
        own = config.models[name].classes if name in config.models else None
        if own not in (None, config.classes):
            raise ConfigError(f"{key}: {name} has {own} outputs, not {config.classes} classes; allowed: a classifier")
