"""Purification: an image's high band is replaced by what its dictionary reconstructs of it (Silva et al. 2022).

x_hat = clip(s_L + sum_m d_m * x_m, 0, 1). Nothing is rescaled, so that what is kept is kept in place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nndefense.core.errors import InputError
from nndefense.dictionaries.coding import code, unroll
from nndefense.dictionaries.spectrum import Spectrum, reconstruct
from nndefense.dictionaries.split import split


@dataclass(frozen=True, eq=False)
class Purified:
    """Purified images, and how they came about.

    Attributes:
        images: (B, C, H, W) in [0, 1].
        low: the low band, as it is kept, (B, C, H, W).
        high: the high band, as it was, (B, C, H, W).
        iterations: steps of each image's code, (B,) int64.
        objective: of each image's code, (B,).
    """

    images: Tensor
    low: Tensor
    high: Tensor
    iterations: Tensor
    objective: Tensor


@torch.no_grad()
def purify(
    images: Tensor,
    dictionaries: Sequence[Spectrum],
    chosen: Tensor,
    *,
    sparsity: float,
    low_pass: float = 5.0,
    method: str = "fista",
    iterations: int = 500,
    tolerance: float = 1e-3,
) -> Purified:
    """Purified images, each by its own dictionary. Images do not depend on each other.

    Args:
        images: (B, C, H, W) in [0, 1], on the dictionaries' device and of their type.
        dictionaries: for images of H x W; only those that are chosen are looked up.
        chosen: (B,) integers, the place of each image's dictionary.
        sparsity, method, iterations, tolerance: as of `coding.code`.
        low_pass: as of `split.split`.

    Raises:
        ConfigError: an option out of range.
        InputError: pixels outside [0, 1], a place without a dictionary, or images that do not fit the dictionaries.
    """
    _check(images, dictionaries, chosen)
    low, high = split(images, low_pass)
    steps = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    objective = images.new_zeros(len(images))

    def detail(bands: Tensor, spectrum: Spectrum, places: Tensor) -> Tensor:
        codes = code(bands, spectrum, sparsity, method=method, iterations=iterations, tolerance=tolerance)
        steps[places], objective[places] = codes.iterations, codes.objectives[:, -1]
        return reconstruct(codes.maps, spectrum)

    return Purified((low + _by_dictionary(high, dictionaries, chosen, detail)).clamp(0, 1), low, high, steps, objective)


def purify_unrolled(
    images: Tensor,
    dictionaries: Sequence[Spectrum],
    chosen: Tensor,
    *,
    sparsity: float,
    low_pass: float = 5.0,
    method: str = "fista",
    iterations: int = 12,
) -> Tensor:
    """Images (B, C, H, W) purified by a fixed number of steps, which gradients flow through.

    The choice of the dictionaries is taken as given. Arguments and errors as of `purify` and `coding.unroll`.
    """
    _check(images, dictionaries, chosen)
    low, high = split(images, low_pass)

    def detail(bands: Tensor, spectrum: Spectrum, places: Tensor) -> Tensor:
        return reconstruct(unroll(bands, spectrum, sparsity, method=method, iterations=iterations), spectrum)

    return (low + _by_dictionary(high, dictionaries, chosen, detail)).clamp(0, 1)


def _by_dictionary(
    high: Tensor,
    dictionaries: Sequence[Spectrum],
    chosen: Tensor,
    detail: Callable[[Tensor, Spectrum, Tensor], Tensor],
) -> Tensor:
    """What `detail` makes of the bands of each dictionary's images, in the images' order."""
    total = torch.zeros_like(high)
    for place in chosen.unique().tolist():
        places = (chosen == place).nonzero()[:, 0].to(high.device)
        total = total.index_copy(0, places, detail(high[places], dictionaries[place], places))
    return total


def _check(images: Tensor, dictionaries: Sequence[Spectrum], chosen: Tensor) -> None:
    if chosen.shape != images.shape[:1] or chosen.is_floating_point():
        raise InputError(f"purification needs {len(images)} dictionaries, got {tuple(chosen.shape)} {chosen.dtype}")
    for place in chosen.unique().tolist():
        if not 0 <= place < len(dictionaries):
            raise InputError(f"dictionary {place} is chosen; allowed: 0 to {len(dictionaries) - 1}")
    pixels = images.detach()
    # Written so that a NaN pixel fails it.
    if pixels.numel() and not (pixels.amin() >= 0 and pixels.amax() <= 1):
        raise InputError("purification needs finite pixels in [0, 1]")
