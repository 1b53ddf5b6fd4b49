"""Trains a classifier: SGD with Nesterov momentum, warm-up and cosine decay, random crops and flips."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nndefense.core.errors import ConfigError, InputError
from nndefense.models.augment import shuffled_batches, training_inputs
from nndefense.models.objective import Batch, CrossEntropy, Objective
from nndefense.models.training_state import TrainingState, capture, restore

PLAIN = CrossEntropy()
# (images, images a batch, generator) -> rows of each batch; the same number of batches every time.
Batches = Callable[[int, int, torch.Generator], Iterator[NDArray[np.int64]]]


def train(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    device: str | torch.device = "cpu",
    augment: bool = True,
    flip: bool = True,
    warmup: float = 0.15,
    threads: int | None = None,
    objective: Objective = PLAIN,
    batches: Batches = shuffled_batches,
    parameters: Sequence[nn.Parameter] | None = None,
    resume: TrainingState | None = None,
    on_epoch: Callable[[TrainingState], None] | None = None,
    on_step: Callable[[int, int, int, float], None] | None = None,
    report_every: int = 10,
) -> list[dict[str, float]]:
    """Trains `model` in place and leaves it in eval mode. Returns one dict(epoch, loss, accuracy, learning_rate) each.

    images: uint8 (n, H, W, 3). labels: (n,) in 0..C-1.
    learning_rate: its peak, reached after the share `warmup` of the steps, then half a cosine to 0; the history tells
    that of an epoch's last step.
    augment: random crops after padding by 4 pixels, and left-right flips unless `flip` is False (for digits).
    threads: CPU threads while training, None to leave them.
    objective: what is minimised (see `Objective`). batches: which images an epoch's steps see.
    parameters: those of the model that are trained, the only ones left with `requires_grad`; None for all.
    resume: where to go on, a state that `on_epoch` was given in a training with the same arguments; the end is the
    same, bit for bit. on_epoch: called with a copy of the state after every epoch.
    on_step: called with (epoch from 1, step from 1, steps in all, loss) every `report_every` steps and
    after the last one.
    Loss and accuracy are means over the epoch's augmented batches; images beyond a multiple of the batch size
    sit out an epoch. Same seed, threads and kind of CPU: same weights, bit for bit.
    Raises InputError for images, labels, parameters or a state that do not fit, ConfigError for settings and a
    diverging loss.
    """
    _check(images, labels, epochs, batch, learning_rate)
    classes = getattr(model, "classes", None)
    if classes is not None and labels.max() >= classes:
        raise InputError(f"label {labels.max()}: the model has {classes} classes, so labels are below {classes}")
    generator = torch.Generator().manual_seed(seed)
    optimizer = _optimizer(_trained(model.to(device), parameters), learning_rate, weight_decay)
    size = min(batch, len(images))
    steps_an_epoch = len(images) // size
    steps = epochs * steps_an_epoch
    history = restore(resume, model, optimizer, generator) if resume is not None else []
    step = len(history) * steps_an_epoch
    model.train()
    try:
        with _threads(threads):
            for epoch in range(len(history) + 1, epochs + 1):
                # Sums stay on the device: reading them at each step would make a GPU wait.
                sums = torch.zeros(2, dtype=torch.float64, device=device)
                for rows in batches(len(images), size, generator):
                    rate = learning_rate * schedule(step, steps, warmup)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    inputs = training_inputs(images, rows, augment, flip, generator, device)
                    targets = torch.from_numpy(labels[rows].astype(np.int64)).to(device)
                    loss, hits = _step(model, optimizer, objective, Batch(inputs, targets, rows, step, generator))
                    sums += torch.stack([loss.double(), hits.double()])
                    step += 1
                    if on_step is not None and (step % report_every == 0 or step == steps):
                        on_step(epoch, step, steps, float(loss))
                loss_mean, hits_mean = (sums / steps_an_epoch).tolist()
                if not math.isfinite(loss_mean):
                    raise ConfigError(f"learning_rate {learning_rate}: the loss diverged in epoch {epoch}; lower it")
                history.append({"epoch": epoch, "loss": loss_mean, "accuracy": hits_mean / size, "learning_rate": rate})
                if on_epoch is not None:
                    on_epoch(capture(model, optimizer, generator, history))
    finally:
        model.eval()
    return history


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step from 0: a rise over `warmup * steps`, then half a cosine."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (math.floor(rise) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, objective: Objective, batch: Batch
) -> tuple[Tensor, Tensor]:
    optimizer.zero_grad(set_to_none=True)
    loss, logits = objective(model, batch)
    loss.backward()
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) == batch.targets).sum()


def _trained(model: nn.Module, chosen: Sequence[nn.Parameter] | None) -> list[nn.Parameter]:
    everything = list(model.parameters())
    if chosen is None:
        model.requires_grad_(True)
        return everything
    known = set(everything)
    if not chosen or not all(parameter in known for parameter in chosen):
        raise InputError("parameters to train: at least one is needed, and all must be the model's")
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return list(chosen)


def _optimizer(parameters: list[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.SGD:
    # Decay of batch-norm scales and of biases only hurts.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(images: NDArray, labels: NDArray, epochs: int, batch: int, learning_rate: float) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise InputError(f"images are {images.dtype} {images.shape}: uint8 (n, height, width, 3) is needed")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise InputError(f"labels are {labels.dtype} {labels.shape}: {len(images)} integers from 0 are needed")
    if epochs < 1 or batch < 2 or not learning_rate > 0:
        settings = f"epochs {epochs}, batch {batch}, learning_rate {learning_rate}"
        raise ConfigError(f"{settings}: at least 1, at least 2, and above 0 are needed")
