"""Images to the codes that a database is searched with: exact, by the operations of the workflow, or differentiable."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nndefense.features.codes import with_copies
from nndefense.features.extract import FeatureExtractor, extract_features, finite_rows, half_features
from nndefense.features.names import is_rmac
from nndefense.features.pca import PCA, as_torch


class Encoder:
    """Codes of a layer.

    Args:
        model: a frozen ResNet (see `nndefense.models.build.freeze`), on its device.
        layer: its name; of layers pooled by R-MAC a database keeps the codes' signs only.
        pca: of the layer's features.
        pooled: side of the pooled map by layer, where it is not the paper's.

    Attributes:
        bits: whether the database keeps signs only.
        scale: (d,) standard deviation of each dimension of the codes.
    """

    def __init__(self, model: nn.Module, layer: str, pca: PCA, pooled: Mapping[str, int] | None = None) -> None:
        self.extractor = FeatureExtractor(model, [layer], pooled, stop_early=True)
        self.layer, self.pca, self.bits = layer, pca, is_rmac(layer)
        self.device = next(model.parameters()).device
        self.mean, self.projection = as_torch(pca, self.device)
        self.scale = torch.from_numpy(np.sqrt(pca.explained_variance).astype(np.float32)).to(self.device)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> codes (B, d) float32, differentiable; the exact ones but for rounding."""
        codes = (self.extractor(images)[0][self.layer] - self.mean) @ self.projection.T
        return nn.functional.normalize(codes, dim=1) if self.pca.l2norm else codes

    def codes(self, images: NDArray | Tensor, batch: int | None = None) -> NDArray[np.float32]:
        """Exact codes (n, d), by the operations of the workflow; NaN where features are not finite.

        Args:
            images: uint8 (n, H, W, 3) or float (n, 3, H, W) in [0, 1].
            batch: images per forward pass; all at once without.
        """
        values, _ = extract_features(self.extractor, images, batch or len(images), self.device)
        features = values[self.layer]
        finite = finite_rows(features)
        features = half_features(np.where(finite[:, None], features, 0))
        codes = self.pca.transform(with_copies(features))[: len(features)]
        codes[~finite] = np.nan
        return codes
