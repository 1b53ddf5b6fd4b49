"""Random points of the simplex, for local mixup (Zhao & Cho, arXiv 1802.09502)."""

import torch
from torch import Tensor

from nndefense.core.errors import InputError


def uniform_simplex(count: int, size: int, generator: torch.Generator) -> Tensor:
    """`count` points drawn uniformly from the simplex {a >= 0, sum a = 1}: (count, size) float32.

    Normalised exponentials, which is the distribution Dirichlet(1, ..., 1): each coordinate is Beta(1, size - 1), of
    variance (size - 1) / (size^2 (size + 1)). Uniform numbers divided by their sum are not uniform on the simplex:
    they crowd around its centre, at half of that variance for size 5.
    generator: on the CPU, so that every device sees the same points. Raises InputError for a size below 1.
    """
    if size < 1:
        raise InputError(f"a simplex of {size} corners: at least 1 is needed")
    # In float64 a row of zeros, which has no normalisation, does not happen.
    exponentials = torch.empty(count, size, dtype=torch.float64).exponential_(generator=generator)
    return (exponentials / exponentials.sum(dim=1, keepdim=True)).float()
