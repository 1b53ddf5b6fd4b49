"""Convolutional dictionaries learnt online: random batches are coded, and filters follow what all batches ask for.

Second-order online learning (Mairal et al. 2009; Liu, Garcia-Cardona, Wohlberg & Yin 2018): with the codes of all
batches the objective is quadratic in the filters, and its coefficients are correlations of the maps within the reach of
a filter. These are what is kept, whatever the size and number of the images; old batches are forgotten. A first-order
step would need a rate that fits the images' size and contrast. Filters stay in their support and on the unit sphere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.seeds import derive_seed
from nndefense.dictionaries.coding import code
from nndefense.dictionaries.spectrum import transform_filters
from nndefense.dictionaries.split import split

# rows (b,) of images -> (b, C, H, W) in [0, 1].
Read = Callable[[np.ndarray], Tensor]
# (steps done, mean objective of the last batch, before the filters followed it).
Watch = Callable[[int, float], None]
# Values of products of maps held at once.
_PRODUCTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Learning:
    """A dictionary being learnt, as plain arrays: what another call needs to go on as if it had not ended.

    Attributes:
        filters: d, (M, C, s, s) float32; the norm of each is 1.
        gram: sum_p x_m(p) x_n(p + l) over images and pixels, (M, M, 2s - 1, 2s - 1) float64; lags l from -(s - 1).
        cross: sum_p x_m(p) s_H(p + u), (M, C, s, s) float64.
        steps: batches seen.
    """

    filters: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    steps: int


def begin(*, filters: int = 64, size: int = 8, channels: int = 3, seed: int = 0) -> Learning:
    """Random filters that nothing was learnt from.

    Args:
        filters: M >= 1.
        size: s >= 1, pixels of a side.
        channels: C >= 1.
        seed: of the random numbers.

    Raises:
        ConfigError: an argument below 1.
    """
    if min(filters, size, channels) < 1:
        raise ConfigError(f"filters is {filters}, size {size}, channels {channels}; allowed: integers >= 1")
    random = np.random.default_rng(derive_seed(seed, "filters"))
    drawn = random.standard_normal((filters, channels, size, size))
    drawn /= np.sqrt(np.square(drawn).sum(axis=(1, 2, 3), keepdims=True))
    lags = 2 * size - 1
    return Learning(drawn.astype(np.float32), np.zeros((filters, filters, lags, lags)), np.zeros_like(drawn), 0)


def learn(
    state: Learning,
    read: Read,
    count: int,
    *,
    steps: int,
    sparsity: float,
    low_pass: float = 5.0,
    batch: int = 16,
    seed: int = 0,
    forgetting: float = 10.0,
    method: str = "fista",
    iterations: int = 100,
    tolerance: float = 1e-2,
    device: torch.device | str = "cpu",
    watch: Watch | None = None,
) -> Learning:
    """The dictionary after `steps` more batches. In two calls it is the same as in one.

    Args:
        state: from `begin`, or from an earlier call with the same arguments but for `steps`.
        read: rows (b,) -> images (b, C, H, W) in [0, 1], of one size of 2s - 1 pixels at least.
        count: number of images; rows are from 0 to count - 1.
        steps: >= 1.
        sparsity, method, iterations, tolerance: of the codes, as of `coding.code`.
        low_pass: as of `split.split`, > 0.
        batch: images of a batch, at most `count`; they depend on seed and step alone.
        seed: of the batches.
        forgetting: old batches count (1 - 1/t)^forgetting at step t, >= 0; 0 forgets none.
        device: that codes are computed on.
        watch: is told of each batch.

    Raises:
        ConfigError: an option out of range.
        InputError: images that are too small, outside of [0, 1], or of other channels than the filters.
    """
    _check(state, count, steps, low_pass, batch, forgetting)
    filters = torch.from_numpy(state.filters).double()
    gram, cross = torch.from_numpy(state.gram), torch.from_numpy(state.cross)
    for step in range(state.steps + 1, state.steps + steps + 1):
        random = np.random.default_rng(derive_seed(seed, "batch", step))
        rows = np.sort(random.choice(count, min(batch, count), replace=False))
        images = _checked(read(rows), state).to(device)
        high = split(images, low_pass)[1]
        spectrum = transform_filters(filters.float().to(device), *high.shape[2:])
        codes = code(high, spectrum, sparsity, method=method, iterations=iterations, tolerance=tolerance)
        keep = (1 - 1 / step) ** forgetting
        products = correlations(codes.maps, high, filters.shape[-1])
        gram, cross = (keep * old + new.cpu() for old, new in zip((gram, cross), products, strict=True))
        # Rounded as they are kept, so that a call that goes on from here starts from the same.
        filters = follow(filters, gram, cross).float().double()
        if watch is not None:
            watch(step, float(codes.objectives[:, -1].double().mean()))
    return Learning(filters.float().numpy(), gram.numpy(), cross.numpy(), state.steps + steps)


def correlations(maps: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """`Learning.gram` and `Learning.cross` of maps (B, M, H, W) and bands (B, C, H, W): float64, on their device."""
    height, width = maps.shape[2:]
    spectra, bands = torch.fft.rfft2(maps).flatten(2), torch.fft.rfft2(high).flatten(2)
    filters, frequencies = spectra.shape[1:]
    lags = torch.arange(1 - size, size, device=maps.device)

    def back(products: Tensor) -> Tensor:
        return torch.fft.irfft2(products.unflatten(-1, (height, -1)), s=(height, width))

    by_frequency = spectra.permute(2, 0, 1).contiguous()
    each = max(1, _PRODUCTS // (filters * frequencies))
    gram = []
    for start in range(0, filters, each):
        part = by_frequency[:, :, start : start + each].conj().transpose(1, 2)
        lagged = back(torch.bmm(part, by_frequency).permute(1, 2, 0))
        gram.append(lagged[:, :, lags % height][..., lags % width].double())
    cross = back(torch.bmm(by_frequency.conj().transpose(1, 2), bands.permute(2, 0, 1)).permute(1, 2, 0))
    return torch.cat(gram), cross[..., :size, :size].double()


def follow(filters: Tensor, gram: Tensor, cross: Tensor) -> Tensor:
    """Filters after each, in turn, took a gradient step back onto the sphere, which never raises what they minimise.

    That is 1/2 sum ||sum_m d_m * x_m - s_H||^2 over the batches' codes, up to a constant. A step is divided by a bound
    of the curvature of a filter's own share. Filters without codes stay as they are.

    Args:
        filters: (M, C, s, s) float64.
        gram, cross: as of `Learning`.
    """
    size = filters.shape[-1]
    period = 2 * size - 1
    # With all lags on one period, what a filter meets within its support is a product of transforms.
    gains = torch.fft.rfft2(gram.roll((1 - size, 1 - size), dims=(2, 3)))
    # A filter's own block is a part of a circulant matrix, whose eigenvalues are these.
    curvatures = gains.diagonal(dim1=0, dim2=1).real.amax(dim=(0, 1))
    filters, spectra = filters.clone(), torch.fft.rfft2(filters, s=(period, period))
    for place in range(len(filters)):
        if curvatures[place] <= 0:
            continue
        met = torch.fft.irfft2((gains[place].unsqueeze(1) * spectra).sum(dim=0), s=(period, period))
        moved = filters[place] - (met[:, :size, :size] - cross[place]) / curvatures[place]
        norm = moved.norm()
        if norm > 0:
            filters[place] = moved / norm
            spectra[place] = torch.fft.rfft2(filters[place], s=(period, period))
    return filters


def _check(state: Learning, count: int, steps: int, low_pass: float, batch: int, forgetting: float) -> None:
    if not 0 < low_pass < float("inf"):
        raise ConfigError(f"low_pass is {low_pass}; allowed: a finite number > 0, as with 0 the high band is empty")
    if min(count, steps, batch) < 1:
        raise ConfigError(f"count is {count}, steps {steps}, batch {batch}; allowed: integers >= 1")
    if not 0 <= forgetting < float("inf"):
        raise ConfigError(f"forgetting is {forgetting}; allowed: a finite number >= 0")
    filters, channels, size, _ = state.filters.shape
    lags = 2 * size - 1
    expected = (filters, filters, lags, lags), (filters, channels, size, size)
    if (state.gram.shape, state.cross.shape) != expected:
        raise InputError(f"learning state has gram {state.gram.shape}, cross {state.cross.shape}; needed: {expected}")


def _checked(images: Tensor, state: Learning) -> Tensor:
    channels, size = state.filters.shape[1:3]
    if images.ndim != 4 or images.shape[1] != channels or min(images.shape[2:]) < 2 * size - 1:
        raise InputError(
            f"learning needs images (b, {channels}, H, W) of {2 * size - 1} pixels at least, got {tuple(images.shape)}"
        )
    if images.dtype != torch.float32 or not (images.amin() >= 0 and images.amax() <= 1):
        raise InputError(f"learning needs finite float32 pixels in [0, 1], got {images.dtype}")
    return images
