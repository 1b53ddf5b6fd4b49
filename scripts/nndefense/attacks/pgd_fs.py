"""PGD-FS, PGD that leaves the retrieved neighbours in feature space (Dubey et al. 2019, §6.1)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nndefense.attacks.pgd import PGD
from nndefense.attacks.problem import Problem
from nndefense.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PGDFS(PGD):
    """PGD that leaves the neighbours in feature space (Dubey et al. §6.1).

    It ascends sum_k ||g(x) - g(x_k)||^2 over the K neighbours of the clean image.

    Up to a constant that is K ||g(x) - mean_k g(x_k)||^2, whose gradient is 2 K J^T (g(x) - mean). The paper
    prints the gradient by x_k; only x can move. Labels and logits play no part. Where x is its own neighbour
    and K = 1 the gradient vanishes at x, so random_start is needed there.

    Context: "encode", a differentiable function from images (B, 3, H, W) to codes g (B, d), pooled features after
    PCA, whose weights need no gradient; "neighbor_codes" (B, K, d) float, of the clean images' neighbours in
    the attacker's database, fixed beforehand; their mean as (B, 1, d) gives the same attack. NaN where an image has
    none, and so nothing to leave.
    """

    def prepare(self, problem: Problem) -> Problem:
        self.required(problem, "encode")
        codes = self.required(problem, "neighbor_codes")
        if codes.ndim != 3 or len(codes) != len(problem.images) or not codes.shape[1]:
            raise InputError(f"neighbor_codes is {tuple(codes.shape)}; needed: ({len(problem.images)}, K, d), K >= 1")
        centers = codes.to(problem.images.device, torch.float32).mean(dim=1)
        return replace(problem, context={**problem.context, "neighbor_center": centers})

    def objective(self, problem: Problem, images: Tensor) -> Tensor:
        """K ||g(x) - mean_k g(x_k)||^2, (B,)."""
        encode: Callable[[Tensor], Tensor] = problem.context["encode"]
        codes, center = encode(images).float(), problem.context["neighbor_center"]
        if codes.shape != center.shape:
            raise InputError(f"neighbor_codes have {center.shape[1]} dimensions, encode gives {tuple(codes.shape)}")
        return problem.context["neighbor_codes"].shape[1] * (codes - center).square().sum(dim=1)
