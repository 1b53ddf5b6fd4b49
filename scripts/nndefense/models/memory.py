"""The retrieval database of a retrieval-augmented network, kept among its tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from nndefense.core.errors import ConfigError, InputError
from nndefense.models.lsh import PStableLSH, default_width

ENGINES = ("exact", "lsh")
# Distances held at once: 64 MB.
DISTANCES = 1 << 24


class Memory(nn.Module):
    """Keys that neighbours are found by, their features and their labels.

    Buffers: keys (rows, key_dimension) and features (rows, dimension) float32, labels (rows,) int64.
    engine: "exact", or "lsh" with `hashes`, `tables`, `width` and `seed` of `nndefense.models.lsh.PStableLSH`, whose
    tables are made from the keys at the first search; without a width, it is `default_width` of the keys.
    Raises ConfigError for an unknown engine.
    """

    keys: Tensor
    features: Tensor
    labels: Tensor

    def __init__(
        self,
        rows: int,
        key_dimension: int,
        dimension: int,
        *,
        engine: str = "exact",
        hashes: int = 8,
        tables: int = 24,
        width: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if engine not in ENGINES:
            raise ConfigError(f"engine {engine!r} is unknown; allowed: {', '.join(ENGINES)}")
        self.engine = engine
        self.lsh_options: dict[str, Any] = {"hashes": hashes, "tables": tables, "width": width, "seed": seed}
        self.register_buffer("keys", torch.zeros(rows, key_dimension))
        self.register_buffer("features", torch.zeros(rows, dimension))
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.int64))
        self._lsh: PStableLSH | None = None
        self.register_load_state_dict_post_hook(_forget_tables)

    def fill(self, keys: Tensor, features: Tensor, labels: Tensor) -> None:
        """Copy the rows in. Raises InputError for other shapes."""
        for name, values in (("keys", keys), ("features", features), ("labels", labels)):
            own = getattr(self, name)
            if values.shape != own.shape:
                raise InputError(f"memory: {name} are {tuple(values.shape)}, {tuple(own.shape)} is needed")
            own.copy_(values)
        _forget_tables(self)

    @property
    def lsh(self) -> PStableLSH:
        """The hash tables over the keys."""
        if self._lsh is None:
            keys = self.keys.float().cpu().numpy()
            width = self.lsh_options["width"] or default_width(keys, seed=self.lsh_options["seed"])
            self._lsh = PStableLSH(keys, **{**self.lsh_options, "width": width})
        return self._lsh

    @torch.no_grad()
    def nearest(self, queries: Tensor, count: int) -> Tensor:
        """Rows of the `count` nearest keys of queries (B, key_dimension), (B, count) int64; ties: the smaller row.

        A query with NaN gets some rows. Raises InputError for more neighbours than rows.
        """
        if not 1 <= count <= len(self.keys):
            raise InputError(f"{count} neighbours of {len(self.keys)} rows: allowed are 1 to {len(self.keys)}")
        queries = queries.detach().to(self.keys.dtype)
        if self.engine == "exact":
            return exact_nearest(self.keys, queries, count)
        found = self.lsh.search(torch.nan_to_num(queries, posinf=0.0, neginf=0.0).float().cpu().numpy(), count)
        return torch.from_numpy(found.ids).to(queries.device)


def exact_nearest(keys: Tensor, queries: Tensor, count: int) -> Tensor:
    """Rows of the nearest keys (n, d) by Euclidean distance from all: (B, d) -> (B, count) int64, nearest first.

    Ties go to the smaller row, also at the last place.
    """
    size = max(1, DISTANCES // len(keys))
    parts = [_nearest(keys, queries[start : start + size], count) for start in range(0, len(queries), size)]
    return torch.cat(parts) if parts else torch.empty(0, count, dtype=torch.int64, device=queries.device)


def _nearest(keys: Tensor, queries: Tensor, count: int) -> Tensor:
    # From differences: inner products would cancel for close vectors, and equal rows might not tie.
    distances = torch.cdist(queries, keys, compute_mode="donot_use_mm_for_euclid_dist")
    distances = torch.nan_to_num(distances, nan=torch.inf, posinf=torch.inf)
    last = distances.topk(count, dim=1, largest=False).values[:, -1:]
    nearer, tied = distances < last, distances == last
    places_left = count - nearer.sum(dim=1, keepdim=True)
    kept = nearer | (tied & (tied.cumsum(dim=1) <= places_left))
    rows = kept.nonzero()[:, 1].view(len(queries), count)
    order = distances.gather(1, rows).sort(dim=1, stable=True).indices
    return rows.gather(1, order)


def _forget_tables(memory: Memory, _: object = None) -> None:
    memory._lsh = None
