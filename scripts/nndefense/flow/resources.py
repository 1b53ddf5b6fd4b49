"""Memory that jobs ask a cluster for, computed from the configuration: none of it follows the size of a database.

Measured peaks of benchmark files stand behind the numbers, with half as much again for other machines.
"""

import math
from collections.abc import Sequence

from nndefense.axes.queries import Pack
from nndefense.config import Config
from nndefense.database.engines import EXACT
from nndefense.flow.databases import stops_within

MB = 1_000_000
# A Python process with NumPy and FAISS.
BARE = 150
# What torch and CUDA take of it besides.
ON_GPU = 3000
# Rows that the exact search holds at a time: a cell and a block.
CELL_ROWS = 2 * 65536


def search_memory(config: Config, packs: Sequence[Pack], pool: str, span: str) -> int:
    """MB of a search of a span for packs of query sets: a cell of codes, or an index, and the lists of every stop."""
    stops = len(stops_within(config, pool, span))
    queries = sum(len(pack.epsilons) for pack in packs) * (config.queries.count or 50_000)
    lists = queries * config.index.neighbors * 12 * (2 * stops + 4)
    codes = queries * config.features.components * 4 + CELL_ROWS * config.features.components * 4
    index = 0 if config.index.factory == EXACT else index_memory(config)
    return rounded(BARE + (lists + codes) / MB) + index + (ON_GPU if searches_on_gpu(config) else 0)


def searches_on_gpu(config: Config) -> int:
    """GPUs that a search asks for."""
    return config.gpu if config.index.gpu else 0


def index_memory(config: Config) -> int:
    """MB of an approximate index of the largest shard while it is written: the index, its bytes, a cell of codes."""
    rows = min(config.shard_rows, max(max(pool.values) for pool in config.pools.values()))
    return rounded(BARE + (3 * rows + CELL_ROWS) * config.features.components * 4 / MB)


def rounded(megabytes: float) -> int:
    """Half as much again, in steps of 500."""
    return 500 * math.ceil(1.5 * megabytes / 500)
