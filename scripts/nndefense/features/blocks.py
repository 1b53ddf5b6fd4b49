"""Features of any number of images, block by block: memory follows the block."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nndefense.features.extract import FeatureExtractor, extract_features, finite_rows, half_features
from nndefense.features.graph import compiled
from nndefense.models.computing import SINGLE, Computing
from nndefense.models.transfer import ahead

# Positions, images (uint8 (b, H, W, 3) or float (b, 3, H, W) in [0, 1]), and position -> why it could not be read.
Images = tuple[slice, NDArray, dict[int, str]]


class Block(NamedTuple):
    """What a network says of some images.

    Attributes:
        rows: their positions.
        features: layer -> (b, D) float16, zeros where an image is skipped.
        softmax: (b, C) float32, equal shares where an image is skipped; None where the pass stopped early.
        skipped: position -> reason: unreadable, or features that are not finite.
    """

    rows: slice
    features: dict[str, NDArray[np.float16]]
    softmax: NDArray[np.float32] | None
    skipped: dict[int, str]


def feature_blocks(
    extractor: FeatureExtractor, images: Iterable[Images], batch: int, device: str, computing: Computing = SINGLE
) -> Iterator[Block]:
    """Yield what a network says of blocks of images.

    Args:
        extractor: of the layers.
        images: consecutive blocks.
        batch: images per forward pass.
        device: of the network.
        computing: how it computes.
    """
    extractor = compiled(extractor, computing, device)
    for place, pixels, unread in ahead(images, device):
        values, softmax = extract_features(extractor, pixels, batch, device, computing=computing)
        finite = finite_rows(*values.values(), *([] if softmax is None else [softmax]))
        skipped = unread | {place.start + int(row): "features not finite" for row in np.flatnonzero(~finite)}
        bad = [row - place.start for row in skipped]
        features = {}
        for layer, value in values.items():
            value[bad] = 0
            features[layer] = half_features(value)
        if softmax is not None:
            softmax[bad] = 1 / softmax.shape[1]
        yield Block(place, features, softmax, skipped)
