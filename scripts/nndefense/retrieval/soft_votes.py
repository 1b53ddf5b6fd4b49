"""Votes that are smooth in the distances of the neighbours: what an attacker differentiates in their place."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, one_hot

from nndefense.core.errors import InputError


def soft_votes(
    distances: Tensor,
    softmax: Tensor,
    weights: Tensor,
    valid: Tensor,
    *,
    k: int,
    temperature: float = 1.0,
    combination: str = "soft",
) -> Tensor:
    """Logarithm of each class's share of a vote in which nearer candidates have a greater say, (B, C).

    Candidate i counts w_i sigmoid((r - d_i) / (temperature r)), where r, the current reach, separates the K nearest
    from the others. As the temperature falls, this becomes the vote of the K nearest. r has no gradient.

    Args:
        distances: (B, M) of the candidates, squared l2 or Hamming, differentiable.
        softmax: (B, M, C) their rows.
        weights: (B, M) >= 0; where those of the K nearest are all 0, uniform ones are used, as in an exact vote.
        valid: (B, M) bool, whether there is a candidate.
        k: neighbours of the exact vote.
        temperature: > 0.
        combination: "soft" or "hard", as of the exact vote.

    Raises:
        InputError: k or temperature out of range.
    """
    if k < 1 or not temperature > 0:
        raise InputError(f"soft votes have k={k}, temperature={temperature}; allowed: k >= 1, temperature > 0")
    border, inside = reach(distances.detach(), valid, k)
    weightless = ((weights == 0) | ~inside).all(dim=1, keepdim=True)
    counted = valid.to(distances.dtype) * torch.where(weightless, 1.0, weights.to(distances.dtype))
    says = logsigmoid((border - distances) / (temperature * border)) + counted.log()
    if combination == "hard":
        softmax = one_hot(softmax.argmax(dim=2), softmax.shape[2])
    rows = softmax.to(distances.dtype)
    # Without a candidate all shares are equal.
    rows = torch.where(valid.any(dim=1)[:, None, None], rows, 1.0)
    says = torch.where(valid.any(dim=1, keepdim=True), says, 0.0)
    shares = torch.einsum("bm,bmc->bc", says.softmax(dim=1), rows)
    shares = shares / shares.sum(dim=1, keepdim=True)
    return shares.clamp_min(torch.finfo(shares.dtype).tiny).log()


def reach(distances: Tensor, valid: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The distance half-way between the k-th and the next candidate, (B, 1), and which are among the k nearest.

    Args:
        distances: (B, M) of the candidates.
        valid: (B, M) bool, whether there is a candidate.
        k: how many are within reach.
    """
    known = distances.masked_fill(~valid, torch.inf)
    ordered, places = known.sort(dim=1, stable=True)
    inside = torch.zeros_like(valid).scatter_(1, places[:, :k], True) & valid
    last = known.masked_fill(~inside, 0.0).amax(dim=1, keepdim=True)
    following = ordered[:, k : k + 1] if ordered.shape[1] > k else torch.full_like(last, torch.inf)
    # Where nothing follows, all are well within.
    found = torch.where(following.isfinite(), (last + following) / 2, 2 * last)
    # A query that equals its K neighbours must not divide by 0.
    largest = known.masked_fill(~valid, 0.0).amax(dim=1, keepdim=True)
    return found.maximum(1e-6 * largest).clamp_min(torch.finfo(distances.dtype).tiny * 1e6), inside
