"""A deployed defence over a whole query set, in batches."""

from collections.abc import Callable

import numpy as np
import torch

from nndefense.defenses.base import Bound
from nndefense.models.batching import in_batches
from nndefense.models.predict import image_batch


def answers_in_batches(
    bound: Bound,
    images: np.ndarray,
    rows: np.ndarray,
    *,
    seed: int,
    batch: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Class probabilities of n images, (n, C) float32; the batch is halved where memory runs out.

    Args:
        bound: the deployed defence, its network on its device.
        images: uint8 (n, H, W, 3) or float32 (n, 3, H, W) in [0, 1].
        rows: (n,) integer ids.
        seed: of what is random.
        batch: images at once.
        on_batch: called after each batch with its number of images.

    Raises:
        InputError: as `Bound.probabilities`.
        NNDefenseError: one image does not fit in memory.
    """
    ids = torch.from_numpy(np.asarray(rows))

    def answer(part: slice) -> np.ndarray:
        shown = image_batch(images, part, bound.device).contiguous(memory_format=torch.channels_last)
        return bound.probabilities(shown, rows=ids[part], seed=seed).cpu().numpy()

    parts = []
    for result in in_batches(answer, len(images), batch):
        parts.append(result)
        on_batch(len(result))
    return np.concatenate(parts)
