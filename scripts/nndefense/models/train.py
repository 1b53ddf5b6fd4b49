"""Trains a classifier: SGD with Nesterov momentum, warm-up and cosine decay, random crops and flips."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nndefense.errors import ConfigError, InputError

PADDING = 4


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
    label_smoothing: float = 0.0,
    warmup: float = 0.15,
    threads: int | None = None,
    on_step: Callable[[int, int, int, float], None] | None = None,
    report_every: int = 10,
) -> list[dict[str, float]]:
    """Trains `model` in place and leaves it in eval mode. Returns one dict(epoch, loss, accuracy) an epoch.

    images: uint8 (n, H, W, 3). labels: (n,) in 0..C-1.
    learning_rate: its peak, reached after the share `warmup` of the steps, then half a cosine to 0.
    augment: random crops after padding by 4 pixels, and left-right flips unless `flip` is False (for digits).
    threads: CPU threads while training, None to leave them.
    on_step: called with (epoch from 1, step from 1, steps in all, loss) every `report_every` steps and
    after the last one.
    Loss and accuracy are means over the epoch's augmented batches; images beyond a multiple of the batch size
    sit out an epoch. Same seed, threads and kind of CPU: same weights, bit for bit.
    Raises InputError for images or labels that do not fit, ConfigError for settings and a diverging loss.
    """
    _check(images, labels, epochs, batch, learning_rate)
    classes = getattr(model, "classes", None)
    if classes is not None and labels.max() >= classes:
        raise InputError(f"label {labels.max()}: the model has {classes} classes, so labels are below {classes}")
    generator = torch.Generator().manual_seed(seed)
    model.to(device).train().requires_grad_(True)
    optimizer = _optimizer(model, learning_rate, weight_decay)
    size = min(batch, len(images))
    steps_an_epoch = len(images) // size
    steps = epochs * steps_an_epoch
    history = []
    step = 0
    try:
        with _threads(threads):
            for epoch in range(1, epochs + 1):
                # Sums stay on the device: reading them at each step would make a GPU wait.
                sums = torch.zeros(2, dtype=torch.float64, device=device)
                for rows in _batches(len(images), size, generator):
                    for group in optimizer.param_groups:
                        group["lr"] = learning_rate * schedule(step, steps, warmup)
                    inputs = _inputs(images, rows, augment, flip, generator, device)
                    targets = torch.from_numpy(labels[rows].astype(np.int64)).to(device)
                    loss, hits = _step(model, optimizer, inputs, targets, label_smoothing)
                    sums += torch.stack([loss.double(), hits.double()])
                    step += 1
                    if on_step is not None and (step % report_every == 0 or step == steps):
                        on_step(epoch, step, steps, float(loss))
                loss_mean, hits_mean = (sums / steps_an_epoch).tolist()
                if not math.isfinite(loss_mean):
                    raise ConfigError(f"learning_rate {learning_rate}: the loss diverged in epoch {epoch}; lower it")
                history.append({"epoch": epoch, "loss": loss_mean, "accuracy": hits_mean / size})
    finally:
        model.eval()
    return history


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step from 0: a rise over `warmup * steps`, then half a cosine."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (math.floor(rise) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def random_crops(images: Tensor, generator: torch.Generator, flip: bool, padding: int = PADDING) -> Tensor:
    """Images (B, H, W, 3) shifted by up to `padding` pixels, zeros beyond their edges; half of them flipped.

    generator: on the CPU, so that every device sees the same crops. Same dtype and device as `images`.
    """
    count, height, width, channels = images.shape
    padded = functional.pad(images, (0, 0, padding, padding, padding, padding))
    offsets = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    flipped = torch.rand(count, generator=generator) < 0.5
    columns = torch.arange(width).expand(count, width)
    if flip:
        columns = torch.where(flipped[:, None], width - 1 - columns, columns)
    columns = columns + offsets[1][:, None]
    rows = torch.arange(height) + offsets[0][:, None]
    # One gather of whole pixels; a pixel's channels stay together in memory.
    wide = width + 2 * padding
    index = (torch.arange(count) * ((height + 2 * padding) * wide))[:, None, None]
    index = (index + rows[:, :, None] * wide + columns[:, None, :]).flatten().to(images.device)
    return padded.view(-1, channels).index_select(0, index).view(count, height, width, channels)


def _inputs(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    augment: bool,
    flip: bool,
    generator: torch.Generator,
    device: str | torch.device,
) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images[rows])).to(device, non_blocking=True)
    if augment:
        pixels = random_crops(pixels, generator, flip)
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    label_smoothing: float,
) -> tuple[Tensor, Tensor]:
    optimizer.zero_grad(set_to_none=True)
    # bf16 is about 20 times slower on CPUs that lack it.
    with torch.autocast("cuda", torch.bfloat16, enabled=inputs.is_cuda):
        logits = model(inputs)
    logits = logits.float()
    loss = functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    loss.backward()
    optimizer.step()
    return loss.detach(), (logits.detach().argmax(1) == targets).sum()


def _optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.SGD:
    parameters = list(model.parameters())
    # Decay of batch-norm scales and of biases only hurts.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True)


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[NDArray[np.int64]]:
    order = torch.randperm(count, generator=generator).numpy()
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


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
