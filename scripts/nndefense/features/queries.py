"""Query sets on disk as codes that a database is asked with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.core.blocks import read_blocks
from nndefense.core.errors import FileFault
from nndefense.core.seals import read_seal
from nndefense.core.skipped import usable_mask
from nndefense.features.codes import with_copies
from nndefense.features.pca import PCA


def query_codes(path: str | Path, pca: PCA, expected: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Name within its pack and codes (Q, d) float32 of each query set; NaN where an image has no features.

    Args:
        path: features of a pack of query sets, .npy.
        pca: of the database.
        expected: facts that the file must have: model and layer of the database.

    Raises:
        FileFault: features of another network or layer, or a damaged file.
    """
    about = read_seal(path)["about"]
    sets, count = about["sets"], (about["stop"] - about["start"]) // len(about["sets"])
    for key, value in expected.items():
        if about[key] != value:
            raise FileFault(f"{path}: has {key} {about[key]}, the database {value}; delete it and rerun")
    good = usable_mask(about["stop"], about["skipped"])
    for number, features in enumerate(read_blocks(path, count, columns=len(pca.mean))):
        # Each query set by itself: products of more rows round otherwise, which changes distances and even ids.
        codes = pca.transform(with_copies(features))[:count]
        codes[~good[number * count : (number + 1) * count]] = np.nan
        yield sets[number], codes
