"""A fitted PCA on disk, and the id that ties codes and indexes to it."""

from pathlib import Path
from typing import Any

from nndefense.core.arrays import read_arrays
from nndefense.core.files import file_sha256
from nndefense.core.seals import fault
from nndefense.features.pca import PCA


def read_pca(path: str | Path) -> tuple[PCA, str]:
    """A PCA and its id, the SHA-256 of its file. FileFault if it is damaged or its arrays do not fit."""
    stored: dict[str, Any] = read_arrays(
        path, "mean", "components", "explained_variance", "explained_variance_ratio", "samples"
    )
    if stored["components"].ndim != 2 or stored["components"].shape[1:] != stored["mean"].shape:
        raise fault(path, f"has components {stored['components'].shape} for a mean {stored['mean'].shape}")
    return PCA(**stored | {"samples": int(stored["samples"])}), file_sha256(path)
