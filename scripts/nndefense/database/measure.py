"""How much of the exact answer an approximate search finds. NumPy only."""

import numpy as np

from nndefense.core.errors import InputError


def recall_at(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Share of each query's exact neighbours that an approximate list names, (Q,) float64; recall@k of lists of k.

    Places without a neighbour, of id -1, count in neither list. A query without any exact neighbour has NaN: there is
    nothing to find. Order within a list does not matter.

    Args:
        found, exact: (Q, k) integer ids of the same queries; within a list each at most once.

    Raises:
        InputError: lists of different shapes, or one that names an id twice.
    """
    if found.ndim != 2 or found.shape != exact.shape:
        raise InputError(f"recall needs lists (Q, k) of the same queries, got {found.shape} and {exact.shape}")
    for name, ids in (("found", found), ("exact", exact)):
        if twice := int(_repeated(ids).any(axis=1).sum()):
            raise InputError(f"recall: {twice} of the {name} lists name an id twice")
    # Ids that are in both lists stand next to each other.
    common = _repeated(np.concatenate([found, exact], axis=1)).sum(axis=1)
    wanted = (exact >= 0).sum(axis=1)
    return np.divide(common, wanted, out=np.full(len(exact), np.nan), where=wanted > 0)


def _repeated(ids: np.ndarray) -> np.ndarray:
    """Which of the ascending ids (Q, n) of each row, but the first, equal the one before; (Q, n - 1) bool."""
    ids = np.sort(ids, axis=1)
    return (ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] >= 0)
