"""What was computed of images, kept by their bytes: attacks ask about the same images several times.

Each starts at the clean images, and differentiates where it has just asked the exact defence.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b

import torch
from torch import Tensor

LIMIT = 1 << 27


class Kept:
    """Tensors that were computed of single images, those that were asked for last.

    Args:
        limit: bytes of them at most.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.size = limit, 0
        self._found: OrderedDict[Hashable, Tensor] = OrderedDict()

    def of(self, compute: Callable[[Tensor, Tensor], Tensor], images: Tensor, rows: Tensor, seed: int | None) -> Tensor:
        """What `compute` says of images (B, 3, H, W) and rows (B,), (B, ...), asked about those that are not known.

        Args:
            compute: a function of each image, its row and the seed alone.
            images: (B, 3, H, W) float32.
            rows: (B,) integers.
            seed: None where nothing depends on it.
        """
        pixels = images.detach().cpu().contiguous().numpy()
        keys: list[Hashable] = [
            (row, seed, image.shape, blake2b(image, digest_size=16).digest())
            for row, image in zip(rows.tolist(), pixels, strict=True)
        ]
        # Another thread may ask, and make room, meanwhile.
        found = {key: one for key in keys if (one := self._found.get(key)) is not None}
        missing = [place for place, key in enumerate(keys) if key not in found]
        if missing:
            places = torch.tensor(missing)
            computed = compute(images[places.to(images.device)], rows[places.to(rows.device)])
            found |= {keys[place]: one.clone() for place, one in zip(missing, computed, strict=True)}
        self._keep(found)
        return torch.stack([found[key] for key in keys]) if keys else compute(images, rows)

    def _keep(self, found: dict[Hashable, Tensor]) -> None:
        for key, one in found.items():
            self.size += one.nbytes - (0 if self._found.pop(key, None) is None else one.nbytes)
            self._found[key] = one
        while self._found and self.size > self.limit:
            self.size -= self._found.popitem(last=False)[1].nbytes
