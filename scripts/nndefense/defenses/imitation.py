"""A nearest-neighbour defence of the attacker's own, for one who does not have all of the target's weights.

It encodes its database with the features that it knows, the target's or another network's, and asks another network for
the softmax rows, since it has not the target's classifier.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nndefense.core.errors import InputError
from nndefense.database.engines.held import Held
from nndefense.database.index import build_index
from nndefense.database.softmax_store import ShardRows, SoftmaxStore, to_half
from nndefense.features.encode import Encoder
from nndefense.features.extract import FeatureExtractor, extract_features, finite_rows, half_features
from nndefense.features.pca import Moments, fit_pca
from nndefense.models.predict import predict_softmax
from nndefense.retrieval.weights import stored_weights

Read = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
BLOCK = 1000


def imitate(
    read: Read,
    ids: NDArray[np.int64],
    encoder: nn.Module,
    classifier: nn.Module,
    *,
    layer: str,
    pooled: Mapping[str, int],
    components: int,
    samples: int,
    batch: int,
) -> dict[str, Any]:
    """The context of `NearestNeighbors`, made of images.

    Args:
        read: places in the pool (b,) -> images (b, H, W, 3) uint8.
        ids: (n,) ascending, places of the attacker's database.
        encoder: network whose features are compared, frozen, on its device.
        classifier: network whose softmax rows vote, likewise.
        layer: the layer of the encoder.
        pooled: side of its pooled map, where it is not the paper's.
        components: dimensions after PCA.
        samples: images that the PCA is fitted on, the first.
        batch: images per forward pass.

    Raises:
        InputError: too few images. ConfigError: the encoder has no such layer.
    """
    device = next(encoder.parameters()).device
    extractor = FeatureExtractor(encoder, [layer], pooled, stop_early=True)
    feature_blocks, softmax_blocks = [], []
    for part in _blocks(ids):
        images = read(part)
        values, _ = extract_features(extractor, images, batch, device)
        feature_blocks.append(half_features(values[layer]))
        softmax_blocks.append(predict_softmax(classifier, images, batch, device))
    features, softmax = np.concatenate(feature_blocks), np.concatenate(softmax_blocks)
    good = finite_rows(features, softmax)
    if good.sum() < 2:
        raise InputError(f"attacker's database has {good.sum()} usable images; allowed: at least 2")
    ids, features, rows = ids[good], features[good], to_half(softmax[good])
    pca = fit_pca(Moments.empty(features.shape[1]).update(features[:samples]), components)
    codes = pca.transform(features)
    runs, weights = _runs(ids), stored_weights(rows)
    return {
        "encode": Encoder(encoder, layer, pca, pooled),
        "shards": [Held(build_index(codes), ids)],
        "store": SoftmaxStore([(ids[a], ids[b - 1] + 1, rows[a:b], weights[a:b]) for a, b in runs]),
        "read": read,
        "codes": ShardRows([(ids[a], ids[b - 1] + 1, codes[a:b]) for a, b in runs]),
    }


def _blocks(ids: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    yield from np.split(ids, range(BLOCK, len(ids), BLOCK))


def _runs(ids: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Places (from, to) of consecutive ids."""
    cuts = [0, *(np.flatnonzero(np.diff(ids) != 1) + 1).tolist(), len(ids)]
    return list(pairwise(cuts))
