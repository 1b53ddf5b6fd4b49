"""Nearest neighbours as a defence (Dubey et al. 2019, §4): the database images next to a query say what it shows.

The same encoder, indexes, store and votes as the workflow's, by the same operations, so that both agree on every query.
An attacker differentiates soft votes of the candidates around the query; which these are is looked up in every step.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from nndefense.core.errors import ConfigError
from nndefense.core.options import Count, Positive
from nndefense.database.copies import nearly_there
from nndefense.database.engines.held import Held
from nndefense.database.merge import merge_neighbors
from nndefense.defenses.base import Bound, Context, Defense, Model, check_images
from nndefense.features.codes import with_copies
from nndefense.retrieval import WEIGHTINGS
from nndefense.retrieval.soft_votes import soft_votes
from nndefense.retrieval.votes import chosen_weights, vote_shares

# Codes that an attacker keeps at hand to move an image to.
LANDMARKS = 100_000


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

    Context: "encode", a `nndefense.features.encode.Encoder` of the network; "shards", a list of `Held` parts of
    the database; "store", the `SoftmaxStore` of the pool; for the surrogate "codes", the `ShardRows` of the
    database's codes; and to show its images "read", from pool rows (n,) to (n, H, W, 3) uint8.
    `nndefense.defenses.deployed` reads them from files.
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

    def rests_on(self, images: Tensor, context: Context) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """How many neighbours vote on checked images (B, 3, H, W), and whether one has nearly their code, (B,) each."""
        encode = context["encode"]
        codes = encode.codes(images)
        ids, distances = self._search(codes, self.searched or self.k, context)
        return (ids[:, : self.k] >= 0).sum(axis=1), nearly_there(codes, distances[:, 0], bits=encode.bits)

    def predict(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        found = self.retrieve(images, context)
        shares = vote_shares(found.softmax, found.weights, self.combination, found.ids >= 0)
        return torch.from_numpy(shares).to(images.device)

    def differentiable(self, model: Model, images: Tensor, rows: Tensor, seed: int, context: Context) -> Tensor:
        self.required(context, "codes")
        encode, memo = context["encode"], context.get("memo", {})
        codes = encode(images)
        if "candidates" not in memo:
            memo["candidates"] = self._candidates(codes.detach(), context)
        around, softmax, weights, valid = memo["candidates"]
        distances = hamming(codes, around, encode.scale) if isinstance(around, Tensor) else around.distances(codes)
        return soft_votes(
            distances,
            softmax,
            weights,
            valid,
            k=self.k,
            temperature=self.temperature,
            combination=self.combination,
        )

    def _candidates(self, codes: Tensor, context: Context) -> tuple["Tensor | Around", Tensor, Tensor, Tensor]:
        """Candidates around codes (B, d): bits (B, M, bytes) or codes; softmax rows, weights, whether there is one."""
        lists = self._lists(codes.cpu().numpy(), self.k * self.candidates, context, ordered=False)
        ids = nearest_set(lists, self.k * self.candidates)[: len(codes)]
        (stored,) = context["codes"].rows_of(ids)
        near = torch.from_numpy(stored).to(codes.device)
        softmax, weights, valid = (torch.from_numpy(one).to(codes.device) for one in self._rows(ids, context))
        return near if stored.dtype == np.uint8 else Around(codes, near), softmax, weights, valid

    def _search(self, codes: NDArray[np.float32], count: int, context: Context) -> tuple[NDArray, NDArray]:
        ids, distances = merge_neighbors(self._lists(codes, count, context), count)
        return ids[: len(codes)], distances[: len(codes)]

    def _lists(
        self, codes: NDArray[np.float32], count: int, context: Context, ordered: bool = True
    ) -> list[tuple[NDArray, NDArray]]:
        queries = with_copies(codes)
        return [one.search(queries, count, self.probes, ordered) for one in context["shards"]]

    def _rows(self, ids: NDArray[np.int64], context: Context) -> tuple[NDArray, NDArray, NDArray]:
        softmax, cbw, valid = context["store"].take(ids)
        return softmax, chosen_weights(cbw, [self.weighting])[:, 0], valid


@dataclass(frozen=True, eq=False)
class BoundNeighbors(Bound):
    """Nearest neighbours as deployed, which can also be shown."""

    defense: NearestNeighbors

    def neighbors(self, images: Tensor) -> Neighbors:
        """The neighbours that vote on images (B, 3, H, W) float32 in [0, 1]. Raises InputError for other images."""
        check_images(images)
        return self.defense.retrieve(images.detach(), self.context)

    def rests_on(self, images: Tensor) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Neighbours that vote on each image, and whether one has nearly its code, (B,) each; errors as `neighbors`."""
        check_images(images)
        return self.defense.rests_on(images.detach(), self.context)

    def embed(
        self,
        images: Tensor,
        *,
        rows: Tensor,
        seed: int,
        draws: int = 1,
        memo: MutableMapping[str, Any] | None = None,
    ) -> Tensor:
        """Codes (B, d), differentiable; of a database of bits their signs, smoothed."""
        self.check(images, rows, seed)
        encode = self.context["encode"]
        return smooth_signs(encode(images), encode.scale) if encode.bits else encode(images)

    def landmarks(self, classes: int) -> tuple[Tensor, Tensor, int]:
        """Codes from the beginning of the database, as many of each class, their classes by its softmax rows, and K."""
        codes, own, _ = self._landmarks
        return codes, own, self.defense.k

    def pictures(self, places: Tensor) -> Tensor | None:
        """Database images (b, 3, H, W) in [0, 1] of landmarks; None where the context cannot "read" them."""
        if "read" not in self.context:
            return None
        pixels = torch.from_numpy(self.context["read"](self._landmarks[2][places.cpu().numpy()]))
        return pixels.permute(0, 3, 1, 2).float().div(255).to(places.device)

    @cached_property
    def _landmarks(self) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
        self.defense.required(self.context, "codes")
        counts = np.zeros(self.context["store"].classes, dtype=np.int64)
        per_class, found = max(1, LANDMARKS // len(counts)), []
        for ids in batched_ids(self.context["shards"]):
            classes = self.context["store"].take(ids)[0].argmax(axis=1)
            kept = np.concatenate(
                [np.flatnonzero(classes == one)[: per_class - counts[one]] for one in np.unique(classes)]
            )
            counts += np.bincount(classes[kept], minlength=len(counts))
            found.append((*self.context["codes"].rows_of(ids[kept]), classes[kept], ids[kept]))
            if (counts >= per_class).all():
                break
        stored, classes, ids = (np.concatenate(part) for part in zip(*found, strict=True))
        codes, width = torch.from_numpy(stored), self.context["encode"].scale.shape[0]
        codes = 2.0 * unpacked(codes, width) - 1 if codes.dtype == torch.uint8 else codes
        return codes, torch.from_numpy(classes), ids


def nearest_set(lists: Sequence[tuple[NDArray, NDArray]], count: int) -> NDArray[np.int64]:
    """Ids (Q, count) of the nearest of several lists, in no order; -1 where there are fewer."""
    ids, distances = (np.concatenate(part, axis=1) for part in zip(*lists, strict=True))
    if ids.shape[1] <= count:
        return ids
    return np.take_along_axis(ids, np.argpartition(distances, count - 1, axis=1)[:, :count], axis=1)


class Around:
    """Squared l2 distances to candidates, from codes that move a little.

    A product of matrices, of differences to where the codes were: they are as small as the distances, so that little is
    cancelled, and the differences of hundreds of candidates are neither computed nor kept in every step.

    Args:
        codes: (B, d), where the codes are.
        near: (B, M, d), the candidates; overwritten.
    """

    def __init__(self, codes: Tensor, near: Tensor) -> None:
        self.center = codes.detach()
        exact = torch.cdist(self.center[:, None], near, compute_mode="donot_use_mm_for_euclid_dist")
        self.lengths = exact[:, 0].square()
        self.offsets = near.sub_(self.center[:, None]).transpose(1, 2)

    def distances(self, codes: Tensor) -> Tensor:
        """(B, M) from codes (B, d), differentiable by them."""
        moved = codes - self.center
        products = torch.bmm(moved[:, None], self.offsets)[:, 0]
        return (moved.square().sum(dim=1, keepdim=True) + self.lengths - 2 * products).clamp_min(0)


def hamming(codes: Tensor, near: Tensor, scale: Tensor) -> Tensor:
    """Hamming distances (B, M) from the signs of codes (B, d) to packed bits (B, M, bytes).

    The value is exact; a sign's gradient is that of tanh(code / scale), scale (d,) > 0: the usual size of a code.
    """
    smooth = smooth_signs(codes, scale)
    signs = torch.where(codes > 0, 1.0, -1.0) + (smooth - smooth.detach())
    bits = unpacked(near, codes.shape[1])
    return (codes.shape[1] - ((2 * bits - 1).to(signs.dtype) @ signs[..., None])[..., 0]) / 2


def smooth_signs(codes: Tensor, scale: Tensor) -> Tensor:
    """tanh(code / scale) of codes (B, d); scale: (d,), the usual size of a code."""
    return torch.tanh(codes / scale.clamp_min(torch.finfo(scale.dtype).tiny))


def unpacked(packed: Tensor, width: int) -> Tensor:
    """Bits (..., width) of packed bytes (..., bytes), the highest first."""
    shifts = torch.arange(7, -1, -1, device=packed.device)
    return (packed[..., None] >> shifts & 1).flatten(-2)[..., :width]


def batched_ids(shards: Sequence[Held], batch: int = 4096) -> Iterator[NDArray[np.int64]]:
    """Pool rows of the shards' codes, some at a time."""
    for one in shards:
        yield from np.split(one.rows, range(batch, len(one.rows), batch))
