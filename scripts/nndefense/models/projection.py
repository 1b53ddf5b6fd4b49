"""Gaussian random projection of features (Zhao & Cho 2018, §2; Johnson & Lindenstrauss 1984)."""

import numpy as np
from numpy.typing import NDArray

from nndefense.core.errors import ConfigError


def random_projection(dimension: int, components: int, seed: int) -> NDArray[np.float32]:
    """W (components, dimension) of independent N(0, 1/components) entries; features are projected as h' = W h.

    E |W h|^2 = |h|^2, and |W h|^2 / |h|^2 is a chi-squared variable with `components` degrees of freedom over
    `components`, so distances are kept up to a relative error of about 1 / sqrt(2 components).
    Raises ConfigError for sizes below 1.
    """
    if dimension < 1 or components < 1:
        raise ConfigError(f"projection from {dimension} to {components} dimensions: both must be at least 1")
    normal = np.random.default_rng(seed).standard_normal((components, dimension))
    return (normal / np.sqrt(components)).astype(np.float32)
