"""What tests of spans share: files of shards, of codes and of indexes."""

from itertools import pairwise

import numpy as np

from nndefense.core.arrays import write_array, write_sealed
from nndefense.database.engines.stored import Span
from nndefense.database.engines.trained import Trained
from nndefense.database.index import index_to_bytes

ABOUT = {"model": "m", "layer": "conv_4_1", "pool": "All", "pca": "p"}
# More than a cell, in which the last line of the grid is not full.
ROWS, WIDTH, K = 67_000, 8, 30
SKIPPED = np.array([0, 1, 699, 1023, 30_000, 65_535, 65_536, 66_999])


def drawn(rows=ROWS, width=WIDTH, seed=0):
    """Codes or queries, (rows, width) float32."""
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def write_shards(folder, codes, cuts, skipped=SKIPPED, first=0, **facts):
    """Files of the codes and of the rows without one, of shards that end at these rows."""
    shards, rows = [], []
    for start, stop in pairwise([first, *cuts, first + len(codes)]):
        about = ABOUT | {"start": start, "stop": stop} | facts
        shards.append(folder / f"{start}-{stop}.npy")
        rows.append(folder / "skipped" / f"{start}-{stop}.npy")
        write_array(shards[-1], codes[start - first : stop - first], about)
        write_array(rows[-1], skipped[(skipped >= start) & (skipped < stop)], about)
    return shards, rows


def write_indexes(folder, trained, shards, rows):
    """Indexes of shards."""
    found = []
    for path, skipped in zip(shards, rows, strict=True):
        span = Span([path], [skipped])
        index = Trained(trained=trained).build(span.blocks(), first=span.start, skipped=span.skipped())
        found.append(folder / f"{span.start}-{span.stop}.faiss")
        facts = {"start": span.start, "stop": span.stop, "dimension": index.d, "rows": index.ntotal}
        write_sealed(found[-1], index_to_bytes(index), span.about | facts)
    return found
