"""A whole query set under FGSM or iterative FGSM with an l-infinity budget (Zhao, Li & Cho 2018, §3)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from nndefense.attacks.linf import fgsm_linf, ifgsm_linf
from nndefense.errors import ConfigError
from nndefense.models.batching import in_batches
from nndefense.models.predict import image_batch


def attack_linf(
    model: torch.nn.Module,
    clean: Mapping[str, np.ndarray],
    attack: str,
    *,
    epsilon: float,
    steps: int,
    batch: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> dict[str, np.ndarray]:
    """Attack the images of a query set; the batch is halved where memory runs out.

    model: logits from images in [0, 1], on its device, weights frozen. clean: images (n, 3, H, W) float32 in [0, 1],
    labels (n,), rows (n,). attack: fgsm, or ifgsm with `steps` steps of epsilon / steps. on_batch: called after each
    batch with its number of images.
    Returns images (n, 3, H, W) float32, linf (n,) float32, the largest change of a pixel, labels and rows.
    Raises ConfigError for another attack.
    """
    if attack not in ("fgsm", "ifgsm"):
        raise ConfigError(f"attack {attack!r} has no l-infinity form; allowed: fgsm, ifgsm")
    labels = torch.from_numpy(clean["labels"])
    device = next(model.parameters()).device

    def attack_rows(rows: slice) -> np.ndarray:
        images = image_batch(clean["images"], rows, device).contiguous(memory_format=torch.channels_last)
        targets = labels[rows].to(device)
        if attack == "fgsm":
            attacked = fgsm_linf(model, images, targets, epsilon)
        else:
            attacked = ifgsm_linf(model, images, targets, epsilon, steps)
        return attacked.contiguous().cpu().numpy()

    images = np.empty_like(clean["images"])
    start = 0
    for part in in_batches(attack_rows, len(images), batch):
        images[start : start + len(part)] = part
        start += len(part)
        on_batch(len(part))
    return {
        "images": images,
        "linf": linf_distance(images, clean["images"]),
        "labels": clean["labels"],
        "rows": clean["rows"],
    }


def linf_distance(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Largest absolute difference of a pixel of each pair of images (n, ...): (n,) in their own unit."""
    return np.abs(images - others).reshape(len(images), -1).max(axis=1, initial=0)
