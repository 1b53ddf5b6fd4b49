"""Features to the codes of a database, whatever blocks they come in."""

import numpy as np
from numpy.typing import NDArray

from nndefense.features.bits import pack_signs
from nndefense.features.names import is_rmac
from nndefense.features.pca import PCA

# A product of fewer rows than about that rounds by their number: as many copies make a row's code that of a query set.
LEAST_ROWS = 64
# Rows of the pool that are multiplied together.
LINE = 128


def stored_codes(pca: PCA, features: NDArray[np.float16], layer: str, first: int, kind: str = "float32") -> NDArray:
    """Codes (n, d) of features (n, D); of layers pooled by R-MAC the signs only, as bits (n, d / 8) uint8.

    A product rounds by its shape and a row's place in it. So rows are always multiplied in lines of LINE rows of the
    pool, each at its place, and a code depends on the image and its row alone, not on how a pool is cut.

    Args:
        pca: of the layer.
        features: as they are stored.
        layer: its name.
        first: row of the pool that features[0] stands for.
        kind: type of codes that are no bits, float32 or float16.
    """
    codes, line = (
        np.empty((len(features), len(pca.components)), np.float32),
        np.zeros((LINE, features.shape[1]), features.dtype),
    )
    for start in range(first // LINE * LINE, first + len(features), LINE):
        low, high = max(start, first), min(start + LINE, first + len(features))
        line[low - start : high - start] = features[low - first : high - first]
        codes[low - first : high - first] = pca.transform(line)[low - start : high - start]
    return pack_signs(codes) if is_rmac(layer) else codes.astype(kind, copy=False)


def with_copies(rows: NDArray, least: int = LEAST_ROWS) -> NDArray:
    """Rows (n, d), the last one repeated until there are `least`."""
    return rows if len(rows) >= least else np.pad(rows, ((0, least - len(rows)), (0, 0)), mode="edge")
