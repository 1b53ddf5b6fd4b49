"""From what a layer gives to vectors, before PCA: pooled maps (Dubey et al. 2019, Table 3), tokens, vectors."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from nndefense.core.errors import ConfigError
from nndefense.features.names import CLS, RMAC, Layer
from nndefense.features.rmac import rmac

# Side of the pooled map by stage. Table 3 gives 7, 7, 4, 1 for maps of 56, 28, 14 and 7 pixels.
TABLE_3_SIDES = {2: 7, 3: 7, 4: 4, 5: 1}


def pool_side(stage: int, override: int | None = None) -> int:
    """Side of the pooled map of a stage: `override` if given, else Table 3. Raises ConfigError below 1."""
    side = TABLE_3_SIDES.get(stage, 1) if override is None else override
    if side < 1:
        raise ConfigError(f"pool {side}: the side of the pooled map must be at least 1")
    return side


def pool_features(maps: Tensor, side: int) -> Tensor:
    """Maps (B, C, H, W) -> (B, C * min(side, H) * min(side, W)), flattened in the order C, H, W.

    The 14 -> 4 of Table 3 is no integer ratio and the paper gives no window: adaptive windows are used.
    """
    height, width = maps.shape[-2:]
    return functional.adaptive_avg_pool2d(maps, (min(side, height), min(side, width))).flatten(1)


def pool_tokens(tokens: Tensor, prefix: int = 1) -> Tensor:
    """Tokens (B, T, D) -> their mean (B, D) without the first `prefix`; of all where there are no others."""
    return tokens[:, prefix:].mean(1) if tokens.shape[1] > prefix else tokens.mean(1)


def pooling_of(name: str, layer: Layer, side: int | None, prefix: int) -> Callable[[Tensor], Tensor]:
    """What makes vectors (B, D) of a layer's values, by their shape.

    Args:
        name: the layer's, for messages.
        layer: its parts.
        side: of the pooled map, None for Table 3's of a residual block, and 1 of other maps.
        prefix: tokens before those of the patches.

    Raises ConfigError for a side that R-MAC does not have; the function, for values of another form.
    """
    if layer.pooling == RMAC and side is not None:
        raise ConfigError(f"pool: layer {name!r} is pooled by R-MAC, which has no side to choose")
    chosen = pool_side(layer.block[0] if layer.block else 0, side)
    return partial(_pooled, name, layer, chosen, prefix)


def _pooled(name: str, layer: Layer, side: int, prefix: int, values: Tensor) -> Tensor:
    # What is summed over a map is more than bf16 can tell apart.
    values = values.float() if values.dtype == torch.bfloat16 else values
    form = values.ndim
    if form not in (2, 3, 4) or (layer.pooling == RMAC and form != 4) or (layer.pooling == CLS and form != 3):
        wanted = {RMAC: "(B, C, H, W)", CLS: "(B, tokens, D)"}.get(layer.pooling, "(B, D), tokens or maps")
        raise ConfigError(f"layer {name!r}: gives {tuple(values.shape)}; allowed: {wanted}")
    if layer.pooling == RMAC:
        return rmac(values)
    if layer.pooling == CLS:
        found = values[:, 0]
    else:
        found = pool_features(values, side) if form == 4 else pool_tokens(values, prefix) if form == 3 else values
    return functional.normalize(found, dim=1) if layer.unit else found
