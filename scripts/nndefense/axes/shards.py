"""Nested database sizes: consecutive shards of one seeded permutation, a database of N is the first ones."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nndefense.core.errors import ConfigError, InputError

Shard = tuple[int, int]


def shard_ranges(sizes: Sequence[int]) -> list[Shard]:
    """Half-open row ranges of the shards: (500, 1000, 2000) -> [(0, 500), (500, 1000), (1000, 2000)].

    Raises ConfigError unless the sizes are positive integers in strictly ascending order.
    """
    sizes = list(sizes)
    whole = all(isinstance(size, int | np.integer) and not isinstance(size, bool) for size in sizes)
    if not sizes or not whole or sizes[0] < 1 or any(a >= b for a, b in pairwise(sizes)):
        raise ConfigError(f"database sizes are {sizes}; allowed: positive integers in strictly ascending order")
    return list(pairwise([0, *map(int, sizes)]))


def shard_name(shard: Shard) -> str:
    """(500, 1000) -> "500-1000"."""
    return f"{shard[0]}-{shard[1]}"


def parse_shard_name(name: str) -> Shard:
    """ "500-1000" -> (500, 1000). Raises InputError for anything that `shard_name` does not write."""
    start, _, stop = name.partition("-")
    if not (start.isdecimal() and stop.isdecimal()) or int(start) >= int(stop):
        raise InputError(f"shard name {name!r} is not START-STOP with 0 <= START < STOP")
    shard = int(start), int(stop)
    if shard_name(shard) != name:
        raise InputError(f"shard name {name!r} is not written as {shard_name(shard)!r}")
    return shard


def permute_pool(rows: Sequence[int] | np.ndarray, seed: int) -> np.ndarray:
    """The pool's rows in a seeded random order, (n,), same dtype; every prefix is a random sample of it."""
    return np.random.default_rng(seed).permutation(np.asarray(rows))
