"""Convolutional dictionaries in the frequency domain, where they are a small matrix at each frequency.

A dictionary holds colour filters: one set of coefficient maps makes all three channels. Convolution is circular: over
the border, a filter goes on at the other side, as in SPORCO (Wohlberg 2017).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nndefense.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A dictionary for images of one size. With D (C, M) its filters' transforms at a frequency, D D^H = U diag(e) U^H.

    Channels are turned by U^H at each frequency, which keeps norms and makes D D^H diagonal there: its largest entry
    bounds steps exactly, and a ridge is a division.

    Attributes:
        filters: d, (M, C, s, s), M filters of C channels.
        atoms: U^H D, (C, M, H, W // 2 + 1) complex.
        adjoint: its complex conjugate.
        rotation: U^H, (C, C, H, W // 2 + 1) complex.
        gains: e >= 0, (C, H, W // 2 + 1).
        weights: what a squared entry of a transform counts for in a sum over pixels, (W // 2 + 1,).
        height, width: H, W.
    """

    filters: Tensor
    atoms: Tensor
    adjoint: Tensor
    rotation: Tensor
    gains: Tensor
    weights: Tensor
    height: int
    width: int

    @property
    def bound(self) -> float:
        """Largest eigenvalue of the map from codes to images times its adjoint: what a gradient step is divided by."""
        return float(self.gains.max())

    def to(self, device: torch.device | str) -> Spectrum:
        """The same dictionary on a device."""
        names = ("filters", "atoms", "adjoint", "rotation", "gains", "weights")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def analyse(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> their turned transforms (B, C, H, W // 2 + 1) complex."""
        turned = torch.einsum("dchw,bchw->bdhw", self.rotation, torch.fft.rfft2(images))
        # Steps on arrays of different layouts take several times as long.
        return turned.contiguous()

    def synthesise(self, spectra: Tensor) -> Tensor:
        """The inverse of `analyse`."""
        turned = torch.einsum("dchw,bdhw->bchw", self.rotation.conj(), spectra)
        return torch.fft.irfft2(turned, s=(self.height, self.width))

    def show(self, maps: Tensor) -> Tensor:
        """Maps (B, M, H, W) -> turned transforms of sum_m d_m * x_m, (B, C, H, W // 2 + 1)."""
        spectra = torch.fft.rfft2(maps)
        # Products and sums one after the other are faster than matrix products, which would permute their arguments.
        return torch.stack([(channel * spectra).sum(dim=1) for channel in self.atoms], dim=1)

    def correlate(self, spectra: Tensor) -> Tensor:
        """The adjoint of `show`: turned transforms (B, C, H, W // 2 + 1) -> maps (B, M, H, W)."""
        total = self.adjoint[0] * spectra[:, :1]
        for channel in range(1, len(self.adjoint)):
            # In place: fresh memory costs more than the products.
            total.addcmul_(self.adjoint[channel], spectra[:, channel : channel + 1])
        return torch.fft.irfft2(total, s=(self.height, self.width))

    def energy(self, spectra: Tensor) -> Tensor:
        """Half the sum of squared pixels of transforms (B, C, H, W // 2 + 1): (B,) of the real type."""
        squares = torch.view_as_real(spectra).square().sum(dim=(1, 2, 4))
        return squares @ self.weights / 2


def transform_filters(filters: Tensor, height: int, width: int) -> Spectrum:
    """A dictionary for images of H x W pixels, on the device of its filters and of their type.

    Args:
        filters: d, (M, C, s, s) float32 or float64; d[:, :, 0, 0] falls on the place of a map's coefficient.
        height: H >= s.
        width: W >= s.

    Raises:
        InputError: filters of another shape or type, not finite, or larger than the images.
    """
    if filters.ndim != 4 or not filters.is_floating_point():
        raise InputError(f"dictionary needs filters (M, C, s, s) of floats, got {tuple(filters.shape)} {filters.dtype}")
    if not filters.isfinite().all() or not filters.any():
        raise InputError("dictionary needs finite filters that are not all 0")
    if filters.shape[2] > height or filters.shape[3] > width:
        raise InputError(
            f"filters of {filters.shape[2]} x {filters.shape[3]} pixels do not fit into images of {height} x {width}"
        )
    # In double precision: eigenvectors of nearly equal eigenvalues lose digits.
    spectra = torch.fft.rfft2(filters.double(), s=(height, width))
    grams = torch.einsum("mchw,mdhw->hwcd", spectra, spectra.conj())
    gains, vectors = torch.linalg.eigh(grams)
    rotation = vectors.conj().permute(3, 2, 0, 1)
    atoms = torch.einsum("dchw,mchw->dmhw", rotation, spectra)
    weights = torch.full((width // 2 + 1,), 2 / (height * width), dtype=torch.float64, device=filters.device)
    # The transform of a real image has each column twice, except for these.
    weights[0] /= 2
    if width % 2 == 0:
        weights[-1] /= 2
    real, complex_type = filters.dtype, torch.complex64 if filters.dtype == torch.float32 else torch.complex128
    return Spectrum(
        filters=filters,
        atoms=atoms.to(complex_type).contiguous(),
        adjoint=atoms.conj().resolve_conj().to(complex_type).contiguous(),
        rotation=rotation.resolve_conj().to(complex_type).contiguous(),
        gains=gains.permute(2, 0, 1).clamp(min=0).to(real).contiguous(),
        weights=weights.to(real),
        height=height,
        width=width,
    )


def reconstruct(maps: Tensor, spectrum: Spectrum) -> Tensor:
    """sum_m d_m * x_m, differentiable: maps x (B, M, H, W) -> (B, C, H, W)."""
    return spectrum.synthesise(spectrum.show(maps))
