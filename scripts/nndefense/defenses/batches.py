"""A defence over a whole query set, in batches."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from nndefense.defenses.base import Defense
from nndefense.models.batching import in_batches
from nndefense.models.predict import image_batch


def defend_in_batches(
    defense: Defense,
    model: torch.nn.Module,
    images: np.ndarray,
    rows: np.ndarray,
    *,
    seed: int,
    batch: int,
    context: Mapping[str, object] | None = None,
    on_batch: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Class probabilities of n images, (n, C) float32; the batch is halved where memory runs out.

    images: uint8 (n, H, W, 3) or float32 (n, 3, H, W) in [0, 1]. rows: (n,) integer ids. model: in eval mode, on its
    device. on_batch: called after each batch with its number of images. Raises as `Defense.probabilities`.
    """
    device = next(model.parameters()).device
    ids = torch.from_numpy(np.asarray(rows))
    context = defense.known(context)

    def defend_rows(part: slice) -> np.ndarray:
        shown = image_batch(images, part, device).contiguous(memory_format=torch.channels_last)
        return defense.probabilities(model, shown, rows=ids[part], seed=seed, context=context).cpu().numpy()

    parts = []
    for result in in_batches(defend_rows, len(images), batch):
        parts.append(result)
        on_batch(len(result))
    return np.concatenate(parts)
