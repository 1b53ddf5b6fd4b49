"""Embeddings of images with Gaussian noise: what a smoothed model's answers and certificates are made of.

Noise is a function of (seed, image, part) alone, so batch sizes and what other images there are change nothing. Nothing
but the forward passes costs time: images are copied, noise added and the network asked in whole batches, whatever image
they are of.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nndefense.core.errors import InputError
from nndefense.core.seeds import derive_seed
from nndefense.models.batching import in_batches
from nndefense.models.embedding import Embedding, as_stored
from nndefense.models.predict import image_batch

# Draws of one image that share a stream of random numbers.
PART = 50


def draw_noise(out: Tensor, seed: int, row: int, part: int) -> Tensor:
    """Fill a tensor of the CPU with standard normal noise, a function of (seed, row, part) and of the tensor's size."""
    # NumPy's generators take more than twice as long as torch's vectorised one.
    return out.normal_(generator=torch.Generator().manual_seed(derive_seed(seed, row, part)))


def noisy_answers(
    ask: Callable[[Tensor], NDArray],
    images: NDArray | Tensor,
    rows: NDArray[np.int64],
    *,
    count: int,
    sigma: float,
    seed: int,
    batch: int = 250,
    device: str | torch.device = "cpu",
    first: int = 0,
) -> Iterator[tuple[int, int, NDArray]]:
    """What a network says of `count` noisy copies of each image: (image, place of its first draw, (b, d)), in order.

    Args:
        ask: images (B, 3, H, W) on the device -> (B, d).
        images: uint8 (n, H, W, 3), or float (n, 3, H, W) in [0, 1]. Noise is not clipped.
        rows: (n,) ids of the images, which their noise depends on.
        count: draws of each image.
        sigma: standard deviation of the noise, in units of pixels from 0 to 1.
        seed: of the noise. first: the number of an image's first part, for further draws: PART draws a part.
        batch: noisy images a forward pass, about; halved when memory runs out.

    Raises:
        InputError: no draws, or ids that do not fit the images.
    """
    if count < 1 or len(rows) != len(images) or not sigma >= 0:
        raise InputError(f"noise: {count} draws, {len(rows)} ids of {len(images)} images, sigma {sigma}")
    units = [(place, start) for place in range(len(images)) for start in range(0, count, PART)]

    def answers(noisy: Tensor) -> NDArray:
        with torch.inference_mode():
            return ask(noisy.to(device, non_blocking=True))

    def compute(chosen: slice) -> list[tuple[int, int, NDArray]]:
        own = units[chosen]
        low, high = own[0][0], own[-1][0] + 1
        clean = image_batch(images, slice(low, high))
        sizes = [min(PART, count - start) for _, start in own]
        noisy = torch.empty((sum(sizes), *clean.shape[1:]))
        for (place, start), part in zip(own, noisy.split(sizes), strict=True):
            draw_noise(part, seed, int(rows[place]), first + start // PART).mul_(sigma).add_(clean[place - low])
        if len(own) > 1:
            found = answers(noisy)
        else:
            # What is drawn together need not be asked together: a part that does not fit by itself is split.
            pieces = in_batches(lambda some: answers(noisy[some]), len(noisy), len(noisy), "noisy images")
            found = np.concatenate(list(pieces))
        split = np.split(found, np.cumsum(sizes)[:-1])
        return [(place, start, values) for (place, start), values in zip(own, split, strict=True)]

    for found in in_batches(compute, len(units), max(1, batch // min(PART, count)), "parts of noisy images"):
        yield from found


def noisy_embeddings(
    embedding: Embedding, images: NDArray | Tensor, rows: NDArray[np.int64], **options: Any
) -> Iterator[tuple[int, int, NDArray[np.float16]]]:
    """Embeddings of noisy copies as they are stored; arguments and errors as of `noisy_answers`."""
    return noisy_answers(lambda noisy: as_stored(embedding(noisy)), images, rows, **options)


def noisy_features(
    embedding: Embedding,
    images: NDArray,
    rows: NDArray[np.int64],
    on_batch: Callable[[int], None] = lambda count: None,
    **options: Any,
) -> NDArray[np.float32]:
    """What a transform is fitted on, (n, D), of a noisy copy of each image; options as of `noisy_answers`."""
    parts = []
    for _, _, values in noisy_answers(
        lambda noisy: embedding.features(noisy).cpu().numpy(), images, rows, count=1, **options
    ):
        parts.append(values)
        on_batch(len(values))
    return np.concatenate(parts)


def smoothed_means(draws: Iterator[tuple[int, int, NDArray]], images: int) -> NDArray[np.float64]:
    """Means (n, d) of the draws of n images, added up as they come."""
    sums: NDArray[np.float64] | None = None
    counts = np.zeros(images)
    for place, _, values in draws:
        if sums is None:
            sums = np.zeros((images, values.shape[1]))
        sums[place] += values.astype(np.float64).sum(axis=0)
        counts[place] += len(values)
    if sums is None or not counts.all():
        raise InputError(f"noise: {int((counts == 0).sum())} of {images} images have no draws")
    return sums / counts[:, None]
