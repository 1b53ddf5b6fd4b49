"""Choosing an option of a defence by what it costs on clean validation images."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from nndefense.core.errors import InputError

# Quantile of the normal distribution at 0.95.
ONE_SIDED = 1.6449


def clean_loss(right: NDArray[np.bool_], undefended: NDArray[np.bool_]) -> tuple[float, float]:
    """Clean accuracy that a defence costs on the same images, and the upper end of its one-sided 95 % interval.

    The interval is that of a mean of differences -1, 0, 1 (Wald). Where no answer differs, there is none.

    Args:
        right, undefended: (n,) whether the answer is right, with the defence and without.

    Raises:
        InputError: no images, or not the same number.
    """
    if not len(right) or right.shape != undefended.shape:
        raise InputError(f"clean loss of {right.shape} answers against {undefended.shape}; needed: of the same images")
    lost = undefended.astype(np.float64) - right.astype(np.float64)
    return float(lost.mean()), float(lost.mean() + ONE_SIDED * lost.std() / sqrt(len(lost)))


def choose_value(losses: Sequence[float], most: float) -> tuple[int, bool]:
    """The place of the last value that costs at most `most`, and whether there is one: else the first, and False.

    Args:
        losses: what each value costs, the one that changes images least first.
        most: accuracy that may be lost, 0 to 1.

    Raises:
        InputError: no values.
    """
    if not losses:
        raise InputError("tuning needs one value at least")
    able = [place for place, loss in enumerate(losses) if loss <= most]
    return (able[-1], True) if able else (0, False)
