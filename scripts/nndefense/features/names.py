"""Names of feature layers: `conv_{stage}_{block}`, counted as in He et al. 2016, with `-RMAC` if pooled by R-MAC.

Stage 1 is the stem, so torchvision's layer1 is stage 2; blocks count from 1 (Dubey et al. 2019, Appendix B).
Imported by scripts that need no torch, so it imports none.
"""

import re
from pathlib import PurePath

from nndefense.core.errors import ConfigError, InputError

RMAC = "-RMAC"
_NAME = re.compile(rf"conv_([2-9])_([1-9]\d*)({RMAC})?")


def parse_layer(name: str) -> tuple[int, int]:
    """`conv_{stage}_{block}`, with or without `-RMAC` -> (stage, block). Raises ConfigError for other names."""
    found = _NAME.fullmatch(name)
    if not found:
        raise ConfigError(
            f"layer {name!r}: a name such as conv_5_1 or conv_5_1{RMAC} is needed, conv_(stage from 2)_(block from 1)"
        )
    return int(found.group(1)), int(found.group(2))


def is_rmac(layer: str) -> bool:
    """Whether a layer is pooled by R-MAC, and its codes are sign bits compared by Hamming distance."""
    return layer.endswith(RMAC)


def block_name(layer: str) -> str:
    """The name of the residual block that a layer's map comes from: conv_5_1-RMAC -> conv_5_1."""
    return layer.removesuffix(RMAC)


def layer_in_path(path: str) -> str:
    """The layer that a folder or file of a path is named after: features/net/conv_5_1-RMAC/pool/0-100.npy.

    The last such part counts, since the folders above may bear any name. Raises InputError if there is none.
    """
    for part in reversed(PurePath(path).parts):
        if _NAME.fullmatch(part):
            return part
    raise InputError(f"{path}: no part of the path names a layer, such as conv_5_1")
