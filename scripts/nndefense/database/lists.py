"""Lists of neighbours on disk: of a pack of query sets, behind every row where a database ends."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nndefense.core.arrays import read_arrays
from nndefense.core.seals import fault


def read_ladder(path: str | Path, stops: Sequence[int]) -> np.ndarray:
    """Ids (sets, stops, queries, k) of the nearest in databases of the first rows.

    Args:
        path: as `search_span.py` and `merge_neighbors.py` write it.
        stops: sizes of the databases, some of those that it lists.

    Raises:
        FileFault: a size that it does not list, or a damaged file.
    """
    return read_lists(path, stops, "ids")["ids"]


def read_lists(path: str | Path, stops: Sequence[int], *names: str) -> dict[str, np.ndarray]:
    """Arrays of a file by name, `ids` and `distances`, as of `read_ladder`; both without names."""
    names = names or ("ids", "distances")
    stored = read_arrays(path, "stops", *names)
    listed = stored["stops"].tolist()
    if strangers := [stop for stop in stops if stop not in listed]:
        raise fault(
            path, f"has no lists up to row {strangers[0]:,}, but up to {', '.join(f'{one:,}' for one in listed)}"
        )
    return {name: stored[name][:, [listed.index(stop) for stop in stops]] for name in names}
