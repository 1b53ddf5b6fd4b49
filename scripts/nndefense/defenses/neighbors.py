"""Nearest neighbours as a defence (Dubey et al. 2019, §4): the database images next to a query say what it shows.

The same encoder, indexes, store and votes as the workflow's, by the same operations, so that both agree on every query.
An attacker differentiates soft votes of the candidates around the query; which these are is looked up in every step.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from nndefense.core.errors import ConfigError
from nndefense.core.options import Count, Positive
from nndefense.database.index import search
from nndefense.database.merge import merge_neighbors
from nndefense.defenses.base import Bound, Context, Defense, Model, check_images
from nndefense.features.encode import with_copies
from nndefense.retrieval import WEIGHTINGS
from nndefense.retrieval.soft_votes import soft_votes
from nndefense.retrieval.votes import chosen_weights, vote_shares


class Neighbors(NamedTuple):
    """Neighbours of B images, nearest first.

    Attributes:
        ids: (B, K) int64 rows of the pool; -1 where there is none.
        distances: (B, K) float32, squared l2 or Hamming; inf where there is none.
        weights: (B, K) float32.
        softmax: (B, K, C) float32.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]
    weights: NDArray[np.float32]
    softmax: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NearestNeighbors(Defense):
    """Votes of the nearest database images.

    Context: "encode", a `nndefense.features.encode.Encoder` of the network; "shards", a list of (index, pool row of
    each of its codes); "store", the `SoftmaxStore` of the pool; and for the surrogate "codes", the `ShardRows` of the
    database's codes. `nndefense.defenses.deployed` reads them from files.
    """

    k: Annotated[Count, Field(description="Neighbours that vote.")] = 50
    weighting: Annotated[str, Field(description="Their weights: UW, CBW-E or CBW-D (paper §4).")] = "CBW-D"
    combination: Annotated[
        Literal["soft", "hard"],
        Field(description="`soft` averages probabilities, `hard` counts each neighbour's class (paper, appendix C)."),
    ] = "soft"
    searched: Annotated[
        Count | None,
        Field(
            description="Neighbours that a search lists, of which the first k vote (null = k). As `index.neighbors`, "
            "equal distances at the last place are decided as in the workflow."
        ),
    ] = None
    probes: Annotated[Count | None, Field(description="Lists an inverted-file index visits (null = its own).")] = None
    temperature: Annotated[Positive, Field(description="Of the surrogate's votes; 0 would be the exact ones.")] = 1.0
    candidates: Annotated[Count, Field(description="Candidates of the surrogate, in multiples of k.")] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weighting not in WEIGHTINGS:
            raise ConfigError(f"defense option weighting is {self.weighting!r}; allowed: {', '.join(WEIGHTINGS)}")
        if self.searched is not None and self.searched < self.k:
            raise ConfigError(f"defense option searched is {self.searched}; allowed: null, or at least k = {self.k}")

    def bind(self, model: nn.Module, context: Context | None = None) -> "BoundNeighbors":
        return BoundNeighbors(self, model, self.prepare(context or {}))

    def prepare(self, context: Context) -> Context:
        self.required(context, "encode", "shards", "store")
        return context

    def retrieve(self, images: Tensor, context: Context) -> Neighbors:
        """The neighbours that vote on checked images (B, 3, H, W)."""
        codes = context["encode"].codes(images)
        ids, distances = self._search(codes, self.searched or self.k, context)
        softmax, weights, _ = self._rows(ids[:, : self.k], context)
        return Neighbors(ids[:, : self.k], distances[:, : self.k], weights, softmax)

    def predict(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        found = self.retrieve(images, context)
        shares = vote_shares(found.softmax, found.weights, self.combination, found.ids >= 0)
        return torch.from_numpy(shares).to(images.device)

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        self.required(context, "codes")
        encode = context["encode"]
        codes = encode(images)
        ids, _ = self._search(codes.detach().cpu().numpy(), self.k * self.candidates, context)
        softmax, weights, valid = (torch.from_numpy(one).to(codes.device) for one in self._rows(ids, context))
        (stored,) = context["codes"].rows_of(ids)
        near = torch.from_numpy(stored).to(codes.device)
        distances = hamming(codes, near, encode.scale) if stored.dtype == np.uint8 else squared(codes, near)
        return soft_votes(
            distances,
            softmax,
            weights,
            valid,
            k=self.k,
            temperature=self.temperature,
            combination=self.combination,
        )

    def _search(self, codes: NDArray[np.float32], count: int, context: Context) -> tuple[NDArray, NDArray]:
        queries = with_copies(codes)
        lists = [search(index, queries, count, nprobe=self.probes, ids=ids) for index, ids in context["shards"]]
        ids, distances = merge_neighbors(lists, count)
        return ids[: len(codes)], distances[: len(codes)]

    def _rows(self, ids: NDArray[np.int64], context: Context) -> tuple[NDArray, NDArray, NDArray]:
        softmax, cbw, valid = context["store"].take(ids)
        return softmax, chosen_weights(cbw, [self.weighting])[:, 0], valid


@dataclass(frozen=True, eq=False)
class BoundNeighbors(Bound):
    """Nearest neighbours as deployed, which can also be shown."""

    def neighbors(self, images: Tensor) -> Neighbors:
        """The neighbours that vote on images (B, 3, H, W) float32 in [0, 1]. Raises InputError for other images."""
        check_images(images)
        return self.defense.retrieve(images.detach(), self.context)


def squared(codes: Tensor, near: Tensor) -> Tensor:
    """Squared l2 distances (B, M) from codes (B, d) to codes (B, M, d)."""
    return (codes[:, None] - near).square().sum(dim=2)


def hamming(codes: Tensor, near: Tensor, scale: Tensor) -> Tensor:
    """Hamming distances (B, M) from the signs of codes (B, d) to packed bits (B, M, bytes).

    The value is exact; a sign's gradient is that of tanh(code / scale), scale (d,) > 0: the usual size of a code.
    """
    shifts = torch.arange(7, -1, -1, device=near.device)
    bits = (near[..., None] >> shifts & 1).flatten(2)[..., : codes.shape[1]]
    smooth = torch.tanh(codes / scale.clamp_min(torch.finfo(scale.dtype).tiny))
    signs = torch.where(codes > 0, 1.0, -1.0) + (smooth - smooth.detach())
    return (codes.shape[1] - ((2 * bits - 1).to(signs.dtype) @ signs[..., None])[..., 0]) / 2
