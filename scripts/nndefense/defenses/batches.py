"""A deployed defence over a whole query set, in batches."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    ids, parts = torch.from_numpy(np.asarray(rows)), []

    def answer(shown: Tensor, part: slice) -> np.ndarray:
        return bound.probabilities(shown, rows=ids[part], seed=seed).cpu().numpy()

    for result in in_device_batches(answer, images, bound.device, batch):
        parts.append(result)
        on_batch(len(result))
    return np.concatenate(parts)


def in_device_batches(
    ask: Callable[[Tensor, slice], Any], images: np.ndarray, device: torch.device, batch: int
) -> Iterator[Any]:
    """What is said of images, batch by batch; the batch is halved where memory runs out.

    Args:
        ask: images (b, 3, H, W) float32 in [0, 1] on the device, and their places -> what is yielded.
        images: as of `answers_in_batches`.
        device: of the network.
        batch: images at once.
    """

    def shown(part: slice) -> Any:
        return ask(image_batch(images, part, device).contiguous(memory_format=torch.channels_last), part)

    yield from in_batches(shown, len(images), batch)
