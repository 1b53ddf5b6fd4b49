"""Sizes of feature maps, as Table 3 of Dubey et al. 2019 lists them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from nndefense.features.extract import FeatureExtractor
from nndefense.features.names import RMAC, parse_layer
from nndefense.features.pooling import pool_features, pool_side
from nndefense.models.standardize import Standardized


def measure_layers(
    model: Standardized, layers: Sequence[str], images: Tensor, pool: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Channels, height and width of every layer before and after pooling, from a forward pass of images (B, 3, H, W).

    pool: side of the pooled map by layer, where it is not Table 3's.
    """
    with torch.no_grad():
        maps, _ = FeatureExtractor(model, layers, stop_early=True).maps(images)
    sizes = {}
    for layer in layers:
        channels, height, width = maps[layer].shape[1:]
        asked = parse_layer(layer)
        side = 1 if asked.pooling == RMAC else pool_side(asked.block[0] if asked.block else 0, pool.get(layer))
        pooled = pool_features(maps[layer], side).shape[1]
        tall, wide = min(side, height), min(side, width)
        sizes[layer] = {
            "channels": channels,
            "height": height,
            "width": width,
            "pooled_channels": pooled // (tall * wide),
            "pooled_height": tall,
            "pooled_width": wide,
        }
    return sizes
