"""Exact search on a torch device: half-precision products propose candidates, exact distances decide.

A product of half-precision copies is wrong by no more than a bound that follows from the lengths of the rounding errors
(Cauchy-Schwarz). The nearest by the product are candidates, k and a margin, and their distances are computed again from
the codes. A query is done when no code behind its candidates can, by the bound, be as near as its k-th; otherwise it is
given twice as many. So lists do not depend on the product, and the CPU in a GPU's place differs in its kernel alone.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nndefense.database.engines.base import check_dimensions
from nndefense.database.engines.grid import Cell
from nndefense.database.merge import Neighbors

# Candidates beyond the k places, and what one step may hold in memory.
MARGIN = 28
STEP_BYTES = 1 << 29
# The largest number in half precision is 65504; where the largest of an array is put.
LARGEST = 1024.0
NOBODY = -1


@dataclass(frozen=True)
class Part:
    """A cell on a device.

    Attributes:
        start: row of the pool that codes[0] stands for.
        codes: (n, d) as stored. half: (n, d) float16, the codes times `scale`, a power of two.
        squares: (n,) float32, squared lengths of the codes; inf where a row has no code.
        longest: the largest length of a code. error: the largest length of a rounding error of `half`.
    """

    start: int
    codes: Tensor
    half: Tensor
    scale: float
    squares: Tensor
    longest: float
    error: float


def upload(cell: Cell, device: str) -> Part:
    """A cell of float16 or float32 codes on a device."""
    # A copy: the buffer is filled again while the device may still read it.
    codes = torch.from_numpy(cell.codes.copy()).to(device)
    usable = codes.isfinite().all(dim=1)
    codes = codes.masked_fill(~usable[:, None], 0)
    half, scale, errors = _halved(codes)
    squares = codes.double().square().sum(dim=1)
    longest, error = squares.max().sqrt().item(), errors.max().item()
    return Part(cell.start, codes, half, scale, squares.float().masked_fill(~usable, math.inf), longest, error)


class Candidates:
    """A `Running` on a device."""

    def __init__(self, queries: np.ndarray, k: int, device: str) -> None:
        """Arguments as of `Engine.start`."""
        self.valid, self.k, self.device = np.isfinite(queries).all(axis=1), k, device
        self.queries = torch.from_numpy(queries[self.valid]).to(device)
        self.half, self.scale, self.errors = _halved(self.queries)
        self.squares = self.queries.double().square().sum(dim=1)
        self.ids = torch.full((len(self.queries), k), NOBODY, device=device)
        self.distances = torch.full((len(self.queries), k), math.inf, device=device)

    def take(self, part: Part) -> None:
        check_dimensions(self.queries, part.codes.shape[1])
        step = max(1, STEP_BYTES // (8 * len(part.codes)))
        for some in torch.arange(len(self.queries), device=self.device).split(step):
            self._take(part, some)

    def neighbors(self) -> Neighbors:
        ids = np.full((len(self.valid), self.k), NOBODY, dtype=np.int64)
        distances = np.full((len(self.valid), self.k), np.inf, dtype=np.float32)
        ids[self.valid], distances[self.valid] = self.ids.cpu().numpy(), self.distances.cpu().numpy()
        return ids, distances

    def _take(self, part: Part, some: Tensor) -> None:
        """One part for some of the queries, by their numbers."""
        scores = part.squares - _product(self.half[some], part.half) * (2 / (self.scale * part.scale))
        bound = self._bound(part, some)
        places = min(self.k + MARGIN, len(part.codes))
        while len(some):
            lowest, picked = scores.topk(places, largest=False)
            ids, distances = self._merged(part, some, picked)
            # Whoever was not picked has at least this distance.
            rest = lowest[:, -1].double() + self.squares[some] - bound
            done = (distances[:, -1] < rest) | lowest[:, -1].isinf() | (places == len(part.codes))
            self.ids[some[done]], self.distances[some[done]] = ids[done], distances[done]
            some, scores, bound = some[~done], scores[~done], bound[~done]
            places = min(2 * places, len(part.codes))

    def _bound(self, part: Part, some: Tensor) -> Tensor:
        """How far scores (Q,) can be from |c|² - 2 q·c of the true q and c, in either direction."""
        query, wrong = self.squares[some].sqrt(), self.errors[some]
        rounded = (query + wrong) * (part.longest + part.error)
        # Sums of d products in single precision, whatever their order and whether they are rounded or cut off.
        summed = self.queries.shape[1] * 2.0**-22 * rounded
        # Numbers below 1e-38 vanish.
        last = 2.0**-21 * (part.longest**2 + 2 * rounded + self.squares[some]) + 1e-36
        return 2 * (wrong * part.longest + (query + wrong) * part.error + summed) + last

    def _merged(self, part: Part, some: Tensor, picked: Tensor) -> tuple[Tensor, Tensor]:
        """The lists (Q, k) of some queries and their candidates (Q, places), by distance and then by id."""
        # Both are in the order of ids where distances are equal, and ids of a part are larger than all before.
        picked = picked.sort(dim=1).values
        distances = self._distances(part, some, picked)
        ids = torch.where(distances.isinf(), NOBODY, part.start + picked)
        distances, order = torch.cat([self.distances[some], distances], dim=1).sort(dim=1, stable=True)
        ids = torch.cat([self.ids[some], ids], dim=1).gather(1, order)
        return ids[:, : self.k], distances[:, : self.k]

    def _distances(self, part: Part, some: Tensor, picked: Tensor) -> Tensor:
        """Squared distances (Q, places) float32 of candidates; summed in double, rounding hides the order of a sum."""
        found = torch.empty(picked.shape, device=self.device)
        step = max(1, STEP_BYTES // (24 * picked.shape[1] * self.queries.shape[1]))
        for own in torch.arange(len(some), device=self.device).split(step):
            differences = part.codes[picked[own]].double() - self.queries[some[own], None].double()
            found[own] = differences.square().sum(dim=2).float()
        return found.masked_fill(part.squares[picked].isinf(), math.inf)


def _halved(values: Tensor) -> tuple[Tensor, float, Tensor]:
    """(n, d) times a power of two as float16, that power, and the length (n,) of each row's rounding error, double."""
    if values.dtype == torch.float16:
        return values, 1.0, torch.zeros(len(values), dtype=torch.float64, device=values.device)
    largest = values.abs().max().item() if values.numel() else 0.0
    scale = 2.0 ** min(60, math.floor(math.log2(LARGEST / largest))) if largest else 1.0
    half = (values * scale).half()
    return half, scale, (half.double() / scale - values.double()).norm(dim=1)


def _product(queries: Tensor, codes: Tensor) -> Tensor:
    """(Q, n) float32 from float16 (Q, d) and (n, d)."""
    if queries.is_cuda:
        return torch.mm(queries, codes.T, out_dtype=torch.float32)
    return queries.float() @ codes.float().T
