"""PCA of features, exact from streamed second moments (Dubey et al. 2019, §5.1: 256 components).

The paper names an "online PCA in SciPy", which SciPy lacks. Moments of shards are summed here in double
precision about their means and solved once, which equals PCA of all rows at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from nndefense.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch

# Beyond this many features the D x D moments and their eigenvectors cost too much: 512 MiB each at 8192.
EXACT_DIMENSION_LIMIT = 8192
# Rows that are held in double precision at a time.
_ROWS = 1024


class Moments:
    """Count, mean (D,) and scatter (D, D) = sum of (x - mean)(x - mean)^T of the rows seen, float64.

    Kept about the mean (Chan, Golub & LeVeque 1983), since raw second moments lose the spread of features
    whose mean is much larger.
    """

    def __init__(self, count: int, mean: NDArray[np.float64], scatter: NDArray[np.float64]) -> None:
        if mean.ndim != 1 or scatter.shape != (len(mean), len(mean)):
            raise InputError(f"moments: mean {mean.shape} and scatter {scatter.shape} do not fit; (D,), (D, D) needed")
        self.count = int(count)
        self.mean = mean
        self.scatter = scatter

    @classmethod
    def empty(cls, dimension: int) -> Moments:
        """Moments of no rows, for `dimension` features."""
        return cls(0, np.zeros(dimension), np.zeros((dimension, dimension)))

    def update(self, block: NDArray[np.floating]) -> Moments:
        """Adds the rows (n, D) of a block; returns itself. Raises InputError for NaN or infinite features."""
        _check_block(block, len(self.mean))
        for rows in _in_double(block):
            mean = rows.mean(0)
            rows -= mean
            self._add(len(rows), mean, rows.T @ rows)
        return self

    def merge(self, other: Moments) -> Moments:
        """Adds the rows that `other` has seen, and returns itself."""
        if other.mean.shape != self.mean.shape:
            raise InputError(f"moments of {len(other.mean)} features cannot join those of {len(self.mean)}")
        self._add(other.count, other.mean, other.scatter)
        return self

    def _add(self, count: int, mean: NDArray[np.float64], scatter: NDArray[np.float64]) -> None:
        if count == 0:
            return
        total = self.count + count
        shift = mean - self.mean
        self.scatter += scatter
        if self.count:
            self.scatter += np.outer(shift * (self.count * count / total), shift)
        self.mean = self.mean + shift * (count / total)
        self.count = total


@dataclass(frozen=True)
class PCA:
    """An affine map to codes: z = (f - mean) components^T.

    mean: (D,) float64. components: (k, D) float32, orthonormal rows, their largest entry positive.
    explained_variance: (k,) float64, descending. explained_variance_ratio: its share of the total variance.
    samples: rows it was fitted on. whiten: divide codes by their standard deviation.
    l2norm: scale each code to length 1. The paper mentions neither, so both are off by default.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float32]
    explained_variance: NDArray[np.float64]
    explained_variance_ratio: NDArray[np.float64]
    samples: int
    whiten: bool = False
    l2norm: bool = False

    def projection(self) -> NDArray[np.float32]:
        """(k, D) rows to multiply features minus the mean with: the components, scaled if whitening."""
        return _divided(self.components, self._deviations()[:, None]) if self.whiten else self.components

    def transform(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Features (n, D) -> codes (n, k) float32. Raises InputError for NaN or infinite features."""
        _check_block(features, len(self.mean))
        matrix = self.projection().T
        codes = np.empty((len(features), len(self.components)), np.float32)
        start = 0
        for rows in _in_double(features):
            # Centred before rounding: a mean far above the spread would eat the digits of the codes.
            rows -= self.mean
            np.matmul(rows.astype(np.float32), matrix, out=codes[start : start + len(rows)])
            start += len(rows)
        if self.l2norm:
            codes /= np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return codes

    def inverse(self, codes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Codes (n, k) -> the nearest features (n, D) that have them. Raises InputError after l2norm."""
        if self.l2norm:
            raise InputError("codes scaled to length 1 cannot be mapped back: fit the PCA without l2norm")
        scale = self._deviations() if self.whiten else 1.0
        return ((codes * scale) @ self.components.astype(np.float64) + self.mean).astype(np.float32)

    def _deviations(self) -> NDArray[np.float64]:
        return np.sqrt(self.explained_variance)


def fit_pca(moments: Moments, components: int = 256, whiten: bool = False, l2norm: bool = False) -> PCA:
    """Exact PCA of the rows that `moments` has seen.

    components: at most; min(components, D, rows - 1) are kept, as centred rows span no more.
    Raises ConfigError for components below 1, InputError for fewer than 2 rows or features without variance.
    """
    dimension = len(moments.mean)
    kept = _component_count(components, dimension, moments.count)
    covariance = moments.scatter / (moments.count - 1)
    values, vectors = scipy.linalg.eigh(
        covariance, subset_by_index=[dimension - kept, dimension - 1], overwrite_a=True, check_finite=False
    )
    total = float(np.trace(moments.scatter)) / (moments.count - 1)
    return _assemble(moments.mean.copy(), vectors[:, ::-1].T, values[::-1], total, moments.count, whiten, l2norm)


def fit_pca_randomized(
    blocks: Callable[[], Iterable[NDArray[np.floating]]],
    components: int = 256,
    seed: int = 0,
    whiten: bool = False,
    l2norm: bool = False,
    oversample: int = 32,
    iterations: int = 4,
) -> PCA:
    """PCA where D is above EXACT_DIMENSION_LIMIT, such as conv_3_4's 25,088 features.

    A randomised range finder (Halko, Martinsson & Tropp 2011, algorithm 4.4): close to the exact PCA, and
    closer with more iterations; leading components converge first. Each pass costs two products of the rows
    with a D x (components + oversample) matrix, single precision summed in double; D x D is never formed.
    blocks: called once a pass, iterations + 2 times, returns the same blocks (n, D) each time.
    Raises as `fit_pca` and `Moments.update`.
    """
    count, mean, total = _mean_and_variance(blocks)
    kept = _component_count(components, len(mean), count)
    width = min(kept + oversample, len(mean), count)
    basis = np.random.default_rng(seed).standard_normal((len(mean), width))
    for _ in range(iterations):
        basis = scipy.linalg.qr(_scatter_times(blocks, mean, basis), mode="economic", overwrite_a=True)[0]
    small = basis.T @ _scatter_times(blocks, mean, basis) / (count - 1)
    values, vectors = scipy.linalg.eigh((small + small.T) / 2, subset_by_index=[width - kept, width - 1])
    return _assemble(mean, (basis @ vectors[:, ::-1]).T, values[::-1], total, count, whiten, l2norm)


def as_torch(pca: PCA, device: str | torch.device = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """(mean (D,), projection (k, D)) as float32 tensors, for attacks: z = (f - mean) @ projection.T.

    With `pca.l2norm` the caller scales z to length 1.
    """
    import torch

    mean = torch.from_numpy(pca.mean.astype(np.float32)).to(device)
    return mean, torch.from_numpy(np.ascontiguousarray(pca.projection())).to(device)


def _mean_and_variance(blocks: Callable[[], Iterable[NDArray]]) -> tuple[int, NDArray[np.float64], float]:
    count, mean, scatter = 0, np.zeros(0), np.zeros(0)
    for block in blocks():
        if count == 0:
            mean, scatter = np.zeros(block.shape[-1]), np.zeros(block.shape[-1])
        _check_block(block, len(mean))
        for rows in _in_double(block):
            block_mean = rows.mean(0)
            rows -= block_mean
            shift = block_mean - mean
            joined = count + len(rows)
            scatter += np.einsum("nd,nd->d", rows, rows) + shift**2 * (count * len(rows) / joined)
            mean = mean + shift * (len(rows) / joined)
            count = joined
    return count, mean, float(scatter.sum()) / max(count - 1, 1)


def _scatter_times(
    blocks: Callable[[], Iterable[NDArray]], mean: NDArray[np.float64], basis: NDArray[np.float64]
) -> NDArray[np.float64]:
    product = np.zeros(basis.shape)
    single = basis.astype(np.float32)
    for block in blocks():
        for rows in _in_double(block):
            centred = (rows - mean).astype(np.float32)
            product += centred.T @ (centred @ single)
    return product


def _assemble(
    mean: NDArray,
    components: NDArray,
    variance: NDArray,
    total: float,
    samples: int,
    whiten: bool,
    l2norm: bool,
) -> PCA:
    if not total > 0:
        raise InputError(f"all {samples} rows of features are equal: PCA needs features that differ")
    # eigenvectors have no sign of their own; argmax takes the first of equal entries.
    largest = np.abs(components).argmax(1)
    signs = np.where(components[np.arange(len(components)), largest] < 0, -1.0, 1.0)
    variance = np.maximum(variance, 0.0)
    components = np.ascontiguousarray(components * signs[:, None], dtype=np.float32)
    return PCA(mean, components, variance, variance / total, samples, whiten, l2norm)


def _component_count(components: int, dimension: int, count: int) -> int:
    if components < 1:
        raise ConfigError(f"components {components}: at least 1 is needed")
    if count < 2:
        raise InputError(f"PCA of {count} rows: at least 2 are needed")
    return min(components, dimension, count - 1)


def _divided(values: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
    # Directions without variance carry nothing: 0 instead of a division by zero.
    return np.divide(values, by, out=np.zeros(values.shape), where=by > 0).astype(np.float32)


def _check_block(block: NDArray, dimension: int) -> None:
    if block.ndim != 2 or block.shape[1] != dimension:
        raise InputError(f"features are {block.shape}: (n, {dimension}) is needed")


def _in_double(block: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    """Copies of consecutive rows in float64. Raises InputError for NaN or infinite ones."""
    for start in range(0, len(block), _ROWS):
        rows = block[start : start + _ROWS].astype(np.float64)
        if not np.isfinite(rows).all():
            bad = np.flatnonzero(~np.isfinite(rows).all(1))
            raise InputError(f"features: {len(bad)} rows are NaN or infinite, the first is row {start + bad[0]}")
        yield rows
