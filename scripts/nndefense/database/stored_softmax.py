"""The softmax stores of pools on disk: one file of rows and one of confidence weights per shard."""

from collections.abc import Iterable
from pathlib import Path

from nndefense.core.files import read_array
from nndefense.database.softmax_store import Part, SoftmaxStore


def open_stores(softmax: Iterable[str | Path], weights: Iterable[str | Path]) -> dict[str, SoftmaxStore]:
    """The store of every pool that the files belong to, memory-mapped.

    Args:
        softmax: one file per shard.
        weights: their confidence weights, in the same order.
    """
    parts: dict[str, list[Part]] = {}
    for path, weight_path in zip(softmax, weights, strict=True):
        values, about = read_array(path, mapped=True)
        columns, _ = read_array(weight_path, mapped=True)
        parts.setdefault(about["pool"], []).append((about["start"], about["stop"], values, columns))
    return {pool: SoftmaxStore(shards) for pool, shards in parts.items()}
