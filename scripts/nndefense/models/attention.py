"""Attention of a query's features over those of its neighbours (Zhao & Cho 2018, §2)."""

import torch
from torch import Tensor, nn


class BilinearAttention(nn.Module):
    """Weights alpha = softmax(beta), beta_n = h^T U h_n, with a full matrix U (dimension, dimension).

    U starts as I / sqrt(dimension), the scaled inner product; U = 0 gives the mean of the neighbours.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dimension) / dimension**0.5)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Features h (B, D) and neighbours' features h_n (B, N, D) -> weights (B, N) that sum to 1."""
        # Two products: einsum("bd,dd,bnd->bn") would read U's diagonal only.
        scores = torch.matmul(neighbors, torch.matmul(features, self.weight).unsqueeze(2)).squeeze(2)
        return torch.softmax(scores, dim=1)


def convex_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Sum_n weights_n values_n: (B, N) and (B, N, D) -> (B, D)."""
    return torch.matmul(weights.unsqueeze(1), values).squeeze(1)
