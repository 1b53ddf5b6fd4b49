"""Accuracy with its uncertainty: the share of all test images, attacked or not, that are classified right."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np

from nndefense.core.errors import InputError
from nndefense.evaluation.base import Answers, Kind
from nndefense.evaluation.intervals import wilson_interval


def measure_accuracy(answers: Sequence[Answers]) -> list[dict[str, Any]]:
    """Measured distances, accuracy, its 95 % Wilson interval and n of each query set.

    Raises:
        InputError: arrays that do not fit each other, NaN among the distances, or no image.
    """
    return [_measured(one) for one in answers]


def _measured(answers: Answers) -> dict[str, Any]:
    classes, labels, delta = (np.asarray(one) for one in (answers.classes, answers.labels, answers.delta))
    if not (labels.ndim == 1 and classes.shape == labels.shape == delta.shape):
        raise InputError(f"accuracy needs (n,) arrays, got {classes.shape}, {labels.shape} and {delta.shape}")
    mean, largest = (float(delta.mean()), float(delta.max())) if len(delta) else (0.0, 0.0)
    if isnan(mean):
        raise InputError("accuracy: NaN among the measured distances")
    correct, n = int(answers.correct.sum()), len(labels)
    low, high = wilson_interval(correct, n)
    return {
        "delta_mean": mean,
        "delta_max": largest,
        "accuracy": correct / n,
        "ci_low": low,
        "ci_high": high,
        "n": n,
    }


ACCURACY = Kind(("delta_mean", "delta_max", "accuracy", "ci_low", "ci_high", "n"), measure_accuracy)
