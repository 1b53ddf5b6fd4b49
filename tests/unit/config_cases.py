"""A small configuration, and what becomes of it when a key is changed."""

import copy

import pytest

from nndefense.config import load_config
from nndefense.core.errors import ConfigError

SMALL = {
    "dataset": "shapes",
    "classes": 10,
    "images": {"train": {"kind": "shapes", "first": 0, "rows": 500}},
    "queries": {"images": "train", "shared": True},
    "models": {"small": {"architecture": "cifar_resnet8", "train": {"images": "train"}}},
    "target": "small",
    "surrogate": "small",
    "pools": {"All": {"images": ["train"]}},
    "sizes": [500, 100],
    "features": {"layers": ["conv_4_1"]},
    "attacks": {"methods": {"pgd": {}}, "epsilons": [0.06]},
    "base": {"features": "conv_4_1", "epsilon": 0.06},
}


def changed(raw: dict, path: tuple, value: object) -> dict:
    """A copy with another value at a path; without the key where it is `...`."""
    made = copy.deepcopy(raw)
    part = made
    for key in path[:-1]:
        part = part[key]
    if value is ...:
        part.pop(path[-1])
    else:
        part[path[-1]] = value
    return made


def message(raw: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    text = str(caught.value)
    assert "\n" not in text
    assert "configuration" not in text
    return text
