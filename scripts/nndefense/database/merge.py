"""Merge the neighbour lists of shards into those of their union. NumPy only."""

from collections.abc import Sequence

import numpy as np

from nndefense.core.errors import InputError

Neighbors = tuple[np.ndarray, np.ndarray]


def merge_neighbors(lists: Sequence[Neighbors], k: int) -> Neighbors:
    """The k nearest of several lists of the same queries.

    If every k_i >= min(k, rows of shard i), this equals one search of the union.

    Args:
        lists: pairs of ids (Q, k_i) int64 and distances (Q, k_i) float32 over disjoint shards, id -1 where there is
            none.
        k: places of the merged lists.

    Returns:
        Ids (Q, k) int64 and distances (Q, k) float32, nearest first, ties by smaller id, missing places last with id
        -1 and distance inf.

    Raises:
        InputError: lists that do not fit each other.
    """
    if not lists or k < 1:
        raise InputError(f"merging needs at least one list and k >= 1, got {len(lists)} lists and k={k}")
    if any(ids.shape != distances.shape or ids.ndim != 2 for ids, distances in lists):
        raise InputError("merging needs ids and distances of the same shape (Q, k)")
    if len({len(ids) for ids, _ in lists}) > 1:
        raise InputError(f"merging needs lists of the same queries, got {[len(ids) for ids, _ in lists]} queries")
    ids = np.concatenate([ids for ids, _ in lists], axis=1).astype(np.int64, copy=False)
    distances = np.concatenate([distances for _, distances in lists], axis=1).astype(np.float32, copy=False)
    missing = (ids < 0) | np.isnan(distances)
    distances = np.where(missing, np.float32(np.inf), distances)
    ids = np.where(missing, np.iinfo(np.int64).max, ids)
    order = np.lexsort((ids, distances), axis=1)[:, :k]
    ids = np.take_along_axis(ids, order, axis=1)
    distances = np.take_along_axis(distances, order, axis=1)
    ids[ids == np.iinfo(np.int64).max] = -1
    short = ((0, 0), (0, max(0, k - ids.shape[1])))
    return np.pad(ids, short, constant_values=-1), np.pad(distances, short, constant_values=np.inf)
