"""An order in which tars are read one after the other, whose prefixes are nearly random samples.

The tars in a seeded order, in windows of some; within a window, its rows in a seeded order. So any run of rows lies in
few tars, and one open window is all that has to be known. It is a cluster sample: where tars differ in what they hold,
a prefix differs more from the whole than one of single rows would.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nndefense.core.errors import InputError
from nndefense.core.seeds import derive_seed
from nndefense.images.permutation import Permutation

WINDOW = 100  # tars


class TarOrder:
    """A permutation of 0 .. sum(counts) - 1, a pure function of the counts, the seed and the window.

    Args of the constructor:
        counts: rows in each tar; rows are numbered through, tar after tar.
        seed: any integer.
        window: tars whose rows are mixed, >= 1.

    Raises:
        InputError: no rows.
    """

    def __init__(self, counts: Sequence[int], seed: int, window: int = WINDOW) -> None:
        rows = np.asarray(counts, dtype=np.int64)
        if not rows.sum():
            raise InputError("an order of tars needs rows; allowed: counts of which some are not 0")
        self.seed, self.window = seed, window
        tars = np.flatnonzero(rows)
        self.tars = tars[Permutation(len(tars), derive_seed(seed, "tars")).rows_at(np.arange(len(tars)))]
        self.counts = rows[self.tars]
        self.firsts = np.concatenate([[0], np.cumsum(rows)[:-1]])[self.tars]
        # Where each tar of the order would begin, were the rows of windows not mixed.
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])

    def rows_at(self, places: np.ndarray) -> np.ndarray:
        """Rows (n,) int64 that stand at places (n,), each in 0 .. rows - 1."""
        places = np.asarray(places, dtype=np.int64)
        begins = self.starts[: len(self.tars) : self.window]
        windows = np.searchsorted(begins, places, side="right") - 1
        found = np.empty(len(places), dtype=np.int64)
        for window in np.unique(windows).tolist():
            chosen = windows == window
            found[chosen] = self._in_window(window, places[chosen] - begins[window])
        return found

    def _in_window(self, window: int, places: np.ndarray) -> np.ndarray:
        first = window * self.window
        starts = self.starts[first : first + self.window + 1]
        rows = int(starts[-1] - starts[0])
        mixed = starts[0] + Permutation(rows, derive_seed(self.seed, "window", window)).rows_at(places)
        tars = np.searchsorted(self.starts, mixed, side="right") - 1
        return self.firsts[tars] + mixed - self.starts[tars]


# -- how good a sample a prefix is


def share_distance(part: Mapping[str, int], whole: Mapping[str, int]) -> float:
    """Total variation distance between the shares of tags in a part and in the whole, 0 to 1.

    Args:
        part, whole: images by tag, at least one.
    """
    sizes = sum(part.values()), sum(whole.values())
    return sum(abs(part.get(tag, 0) / sizes[0] - whole.get(tag, 0) / sizes[1]) for tag in {*part, *whole}) / 2


def expected_distance(whole: Mapping[str, int], size: int) -> float:
    """About the distance that `size` images would have on average, were they drawn from the whole one by one.

    Shares of a sample without replacement are normal, with variance p (1 - p) / size (N - size) / (N - 1).
    """
    total = sum(whole.values())
    left = (total - size) / max(total - 1, 1)
    shares = np.array(list(whole.values())) / total
    return float(np.sqrt(2 / np.pi * shares * (1 - shares) / size * left).sum() / 2)
