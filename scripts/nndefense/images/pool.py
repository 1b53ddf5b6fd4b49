"""Reading images of a pool by their place in its order, from the sets that it draws from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nndefense.core.errors import InputError
from nndefense.images.base import Batch
from nndefense.images.description import open_described


class PoolReader:
    """Images of a pool.

    names, rows: set and row of every image of the pool, (n,) each, in the pool's order.
    descriptions: of the sets, as `set.json` holds them.
    """

    def __init__(self, names: np.ndarray, rows: np.ndarray, descriptions: Iterable[Mapping[str, Any]]) -> None:
        self.names, self.rows = names, rows
        self.sets = {description["name"]: open_described(description) for description in descriptions}

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, places: Sequence[int]) -> Batch:
        """Images at `places` in the pool's order, uint8 (n, H, W, 3). InputError if their sizes differ."""
        places = np.asarray(places)
        images, skipped = None, {}
        for name in dict.fromkeys(self.names[places]):
            chosen = np.flatnonzero(self.names[places] == name)
            batch = self.sets[name].read(self.rows[places[chosen]])
            if images is None:
                images = np.zeros((len(places), *batch.images.shape[1:]), np.uint8)
            if images.shape[1:] != batch.images.shape[1:]:
                raise InputError(
                    f"image set {name} has images of {batch.images.shape[1:]}, others of the pool {images.shape[1:]}; "
                    "give them the same `size`"
                )
            images[chosen] = batch.images
            skipped |= {int(chosen[position]): reason for position, reason in batch.skipped.items()}
        return Batch(images, skipped)
