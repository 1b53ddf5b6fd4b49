"""An attack over a whole query set at several budgets, in batches, as the arrays that its file holds."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from nndefense.attacks.base import SHARED, Attack, AttackResult, network_of
from nndefense.attacks.budget import common_norm
from nndefense.attacks.problem import Target
from nndefense.attacks.region import Statistics, space_of
from nndefense.axes.ball import BALLS, Ball
from nndefense.axes.numbers import number_text
from nndefense.models.batching import in_batches
from nndefense.models.computing import SINGLE, Computing
from nndefense.models.standardize import Standardized


def attack_in_batches(
    attack: Attack,
    target: Target,
    clean: Mapping[str, np.ndarray],
    *,
    epsilons: Sequence[float],
    ball: Ball,
    statistics: Statistics | None,
    seed: int,
    batch: int,
    context: Callable[[slice], Mapping[str, Any]],
    on_batch: Callable[[AttackResult], None],
    budget: str = "per_image",
    measure_loss: bool = True,
    computing: Computing = SINGLE,
) -> dict[str, np.ndarray]:
    """Attack the images of a query set; the batch is halved where memory runs out.

    Args:
        attack: the attack.
        target: a network on its device, weights frozen, or a defence bound to one.
        clean: images (n, 3, H, W) float32 in [0, 1], labels (n,), rows (n,).
        epsilons: budgets; each is attacked as if it were the only one.
        ball: what the budgets bound.
        statistics: the data set's mean and std per channel.
        seed: of random starts.
        batch: images attacked at once.
        context: what the attack needs to know of the images in a slice.
        on_batch: called after each batch, for each budget.
        budget: "per_image" bounds every image's distance by epsilon; "dataset_mean" (l2) gives all images one radius,
            with epsilon the mean distance.
        measure_loss: as of `Attack.run`.
        computing: how gradients, and of `compiles` the passes of a network without a defence, are computed on a GPU.

    Returns labels and rows, and for each budget, under `{budget}/`: images, loss_before, loss_after, saturated, idle
    and delta_{ball} of every ball, (n, ...) each. Raises as `Attack.run`.
    """
    tensors = {name: torch.from_numpy(clean[name]) for name in ("images", "labels", "rows")}
    device = next(network_of(target).parameters()).device
    if isinstance(target, Standardized):
        target = target.around(computing.compiled(target.net, device)) if computing.compiles else target
    one_radius = budget == "dataset_mean" and ball.norm == "l2"
    norm = common_norm(tensors["images"], space_of(ball, statistics)) if one_radius else None

    def attack_rows(rows: slice) -> list[AttackResult]:
        images = tensors["images"][rows].to(device).contiguous(memory_format=torch.channels_last)
        within = partial(
            attack.run,
            target,
            images,
            tensors["labels"][rows].to(device),
            ball=ball,
            rows=tensors["rows"][rows],
            seed=seed,
            statistics=statistics,
            norm=norm,
            context={**context(rows), SHARED: {}},
            measure_loss=measure_loss,
            computing=computing,
        )
        return [within(epsilon=epsilon) for epsilon in epsilons]

    parts: list[list[dict[str, np.ndarray]]] = []
    for results in in_batches(attack_rows, len(clean["labels"]), batch):
        parts.append([_arrays(result) for result in results])
        for result in results:
            on_batch(result)
    joined = {"labels": clean["labels"], "rows": clean["rows"]}
    for epsilon, found in zip(epsilons, zip(*parts, strict=True), strict=True):
        for name in found[0]:
            joined[f"{number_text(epsilon)}/{name}"] = np.concatenate([part[name] for part in found])
    return joined


def _arrays(result: AttackResult) -> dict[str, np.ndarray]:
    found = {name: getattr(result, name) for name in ("images", "loss_before", "loss_after", "saturated", "idle")}
    found |= {f"delta_{name}": result.deltas[name] for name in BALLS}
    return {name: values.contiguous().cpu().numpy() for name, values in found.items()}


def summarize(arrays: Mapping[str, np.ndarray], ball: Ball, epsilon: float) -> str:
    """A sentence on measured distances, losses and images left alone at one budget, for the log."""
    at = number_text(epsilon)
    delta = arrays[f"{at}/delta_{ball}"]
    return (
        f"delta ({ball}) mean {delta.mean():.5f}, largest {delta.max():.5f}, budget {at}; "
        f"loss {arrays[f'{at}/loss_before'].mean():.3f} -> {arrays[f'{at}/loss_after'].mean():.3f}; "
        f"nothing done to {int(arrays[f'{at}/idle'].sum()):,} of {len(delta):,} images"
    )
