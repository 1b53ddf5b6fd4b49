"""An attack over a whole query set, in batches, as the arrays that its file holds."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nndefense.attacks.base import Attack, AttackResult
from nndefense.attacks.budget import common_norm
from nndefense.attacks.space import PixelSpace
from nndefense.models.batching import in_batches

MEASURES = ("loss_before", "loss_after", "delta_raw01", "delta_standardized", "saturated")


def attack_in_batches(
    attack: Attack,
    model: torch.nn.Module,
    clean: Mapping[str, np.ndarray],
    *,
    epsilon: float,
    space: PixelSpace,
    seed: int,
    batch: int,
    context: Callable[[slice], Mapping[str, Any]],
    on_batch: Callable[[AttackResult], None],
    budget: str = "per_image",
) -> dict[str, np.ndarray]:
    """Attack the images of a query set; the batch is halved where memory runs out.

    clean: images (n, 3, H, W) float32 in [0, 1], labels (n,), rows (n,). model: on its device, weights frozen.
    budget: "per_image" bounds every image's distance by epsilon; "dataset_mean" gives all images one radius, with
    epsilon the mean distance. context: what the attack needs to know of the images in a slice. on_batch: called after
    each batch.
    Returns images, MEASURES, labels and rows, (n, ...) each. Raises as `Attack.run`.
    """
    tensors = {name: torch.from_numpy(clean[name]) for name in ("images", "labels", "rows")}
    device = next(model.parameters()).device
    if budget == "dataset_mean":
        space = replace(space, budget_norm=common_norm(tensors["images"], space))

    def attack_rows(rows: slice) -> AttackResult:
        return attack.run(
            model,
            tensors["images"][rows].to(device).contiguous(memory_format=torch.channels_last),
            tensors["labels"][rows].to(device),
            epsilon=epsilon,
            space=space,
            rows=tensors["rows"][rows],
            seed=seed,
            context=context(rows),
        )

    parts = []
    for result in in_batches(attack_rows, len(clean["labels"]), batch):
        parts.append({name: getattr(result, name).contiguous().cpu().numpy() for name in ("images", *MEASURES)})
        on_batch(result)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return joined | {"labels": clean["labels"], "rows": clean["rows"]}


def summarize(arrays: Mapping[str, np.ndarray], space: str, epsilon: float) -> str:
    """A sentence on measured distances and losses, for the log."""
    delta = arrays[f"delta_{space}"]
    return (
        f"delta ({space}) mean {delta.mean():.5f}, largest {delta.max():.5f}, budget {epsilon:g}; "
        f"loss {arrays['loss_before'].mean():.3f} -> {arrays['loss_after'].mean():.3f}"
    )
