"""Embeddings of norm at most 1: a network's features, centred or along the directions that tell classes apart."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import ConfigError, InputError
from nndefense.models.racnn import cut_last_layer
from nndefense.models.standardize import Standardized

OUTPUTS = ("features", "softmax", "output")
TRANSFORMS = ("none", "center", "lda")
# Keeps norms at most 1 after rounding to float32.
SHRINK = 1 - 2.0**-20


@dataclass(frozen=True)
class Transform:
    """A linear map between the network and the scaling to norm 1.

    Attributes:
        mean: (D,) subtracted. directions: (D, d), or None for all D dimensions as they are.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32] | None = None


def fit_transform(kind: str, features: NDArray[np.float32], labels: NDArray[np.int64]) -> Transform:
    """The transform of training features.

    Args:
        kind: "none"; "center" subtracts the mean; "lda" takes the C - 1 directions of linear discriminant analysis,
            within-class covariance shrunk by Ledoit and Wolf's rule (scikit-learn).
        features: (n, D), of noisy training images. labels: (n,) of C classes.

    Raises:
        ConfigError: another kind. InputError: fewer than two classes for "lda".
    """
    if kind not in TRANSFORMS:
        raise ConfigError(f"transform {kind!r} is unknown; allowed: {', '.join(TRANSFORMS)}")
    if kind == "none":
        return Transform(np.zeros(features.shape[1], dtype=np.float32))
    if kind == "center":
        return Transform(features.mean(axis=0, dtype=np.float64).astype(np.float32))
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    classes = len(np.unique(labels))
    if classes < 2:
        raise InputError(f"transform 'lda' needs images of two classes or more, got {classes}")
    found = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(features.astype(np.float64), labels)
    kept = min(classes - 1, features.shape[1])
    mean = features.mean(axis=0, dtype=np.float64)
    return Transform(mean.astype(np.float32), found.scalings_[:, :kept].astype(np.float32))


class Embedding(nn.Module):
    """Images (B, 3, H, W), of any values, -> embeddings (B, d) of norm 1; 0 where the features are.

    Args:
        model: a trained network, in eval mode.
        output: "features" before the last layer; "softmax", square roots of the classes' probabilities, whose norm is 1
            and whose entries are not negative; "output", of a network whose outputs are an embedding.
        transform: of these; None for none.

    Raises:
        ConfigError: another output, or a network without a last linear layer.
    """

    mean: Tensor | None
    directions: Tensor | None

    def __init__(self, model: Standardized, output: str, transform: Transform | None = None) -> None:
        super().__init__()
        if output not in OUTPUTS:
            raise ConfigError(f"output {output!r} is unknown; allowed: {', '.join(OUTPUTS)}")
        self.model, self.output = deepcopy(model), output
        if output == "features":
            cut_last_layer(self.model.net, model.classes)
        kept = transform or Transform(np.zeros(0, dtype=np.float32))
        self.register_buffer("mean", torch.from_numpy(kept.mean) if kept.mean.any() else None)
        self.register_buffer("directions", None if kept.directions is None else torch.from_numpy(kept.directions))

    @property
    def nonnegative(self) -> bool:
        """Whether no entry of an embedding is negative."""
        return self.output == "softmax" and self.mean is None and self.directions is None

    def features(self, images: Tensor) -> Tensor:
        """What the transform is fitted on, (B, D) float32."""
        found = self.model(images).float()
        # With a bound from below, as the square root has no slope at 0.
        return torch.softmax(found, dim=1).clamp(min=1e-12).sqrt() if self.output == "softmax" else found

    def forward(self, images: Tensor) -> Tensor:
        found = self.features(images)
        if self.mean is not None:
            found = found - self.mean
        if self.directions is not None:
            found = found @ self.directions
        return functional.normalize(found, dim=1)


def as_stored(embeddings: Tensor) -> NDArray[np.float16]:
    """Embeddings (B, d) as they are stored and compared: float16, rounded towards 0, so that no norm exceeds 1."""
    exact = embeddings.detach().float().cpu().numpy() * np.float32(SHRINK)
    rounded = exact.astype(np.float16)
    longer = np.abs(rounded.astype(np.float32)) > np.abs(exact)
    rounded[longer] = np.nextafter(rounded[longer], np.float16(0))
    return rounded


def class_prototypes(
    vectors: NDArray[np.floating], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The mean of each class's vectors (n, d): (C, d), and the classes (C,)."""
    classes = np.unique(labels)
    means = [np.asarray(vectors[labels == label], dtype=np.float64).mean(axis=0) for label in classes]
    return np.stack(means), classes


def open_embedding(description: str, output: str, transform: Sequence[str], device: str = "cpu") -> Embedding:
    """The embedding by a network on disk, to be asked and attacked.

    Args:
        description: model.json of the network. output: as of `Embedding`.
        transform: the file of `write_transform`; none without a transform.
        device: where it computes.
    """
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    kept = None
    for path in transform:
        arrays = read_arrays(path, "mean", "directions")
        kept = Transform(arrays["mean"], arrays["directions"] if arrays["directions"].size else None)
    return freeze(Embedding(open_checkpoint(description)[0], output, kept)).to(device)


def write_transform(path: str, transform: Transform) -> None:
    """Write a transform as .npz."""
    directions = np.zeros((0, 0), dtype=np.float32) if transform.directions is None else transform.directions
    write_arrays(path, mean=transform.mean, directions=directions)
