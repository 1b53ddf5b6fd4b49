"""Names of feature layers: `[ENCODER@]MODULE[-RMAC | -CLS][-L2]`.

MODULE is `conv_{stage}_{block}`, a residual block of a ResNet counted as in He et al. 2016, or the path of a module as
PyTorch names it, such as `blocks.11`. Without ENCODER the layer is the run's own encoder's. `-RMAC` pools a map by
R-MAC, `-CLS` takes the first token instead of the mean of the patches, `-L2` scales the features to unit length.

Stage 1 is the stem, so torchvision's layer1 is stage 2; blocks count from 1 (Dubey et al. 2019, Appendix B).
Imported by scripts that need no torch, so it imports none.
"""

import re
from typing import NamedTuple

from nndefense.core.errors import ConfigError

RMAC = "-RMAC"
CLS = "-CLS"
UNIT = "-L2"
# As a pattern of the configuration, too, which names no groups.
MODULE = r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
PLAIN = rf"([A-Za-z0-9_]{{1,64}}@)?{MODULE}({CLS})?({UNIT})?"
PATTERN = rf"([A-Za-z0-9_]{{1,64}}@)?{MODULE}({RMAC}|({CLS})?({UNIT})?)"
_NAME = re.compile(rf"(?:(\w+)@)?({MODULE.replace('(', '(?:')})({RMAC}|{CLS})?({UNIT})?")
_BLOCK = re.compile(r"conv_([2-9])_([1-9]\d*)")


class Layer(NamedTuple):
    """A layer, by the parts of its name.

    Attributes:
        encoder: name of the network, None for the run's own.
        module: `conv_5_1`, or the path of a module.
        pooling: "-RMAC", "-CLS" or "".
        unit: whether features are scaled to unit length.
    """

    encoder: str | None
    module: str
    pooling: str = ""
    unit: bool = False

    @property
    def block(self) -> tuple[int, int] | None:
        """(stage, block) of a residual block; None for another module."""
        found = _BLOCK.fullmatch(self.module)
        return (int(found[1]), int(found[2])) if found else None


def parse_layer(name: str) -> Layer:
    """The parts of a layer's name. Raises ConfigError for a name of another form."""
    found = _NAME.fullmatch(name)
    if not found or (found[3] == RMAC and found[4]) or (found[2].startswith("conv_") and not _is_module(found[2])):
        raise ConfigError(
            f"layer {name!r}: a name such as conv_5_1 (stage from 2, block from 1) or layer4.0 is needed, behind it "
            f"{RMAC}, {CLS} or {UNIT}, and before it the network if that is not the run's own, as in vit@blocks.11{CLS}"
        )
    return Layer(found[1], found[2], found[3] or "", bool(found[4]))


def _is_module(name: str) -> bool:
    # What looks like a block and is none is a slip, not a module of that name.
    return bool(_BLOCK.fullmatch(name)) or not re.fullmatch(r"conv_\d+_.*", name)


def is_rmac(layer: str) -> bool:
    """Whether a layer is pooled by R-MAC, and its codes are sign bits compared by Hamming distance."""
    return layer.endswith(RMAC)
