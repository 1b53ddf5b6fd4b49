"""Accuracy with its uncertainty: the share of all test images, attacked or not, that are classified right."""

from collections.abc import Sequence
from math import isnan
from typing import Any

import numpy as np

from nndefense.core.errors import InputError
from nndefense.evaluation.base import Answers, Kind
from nndefense.evaluation.intervals import wilson_interval


def measure_accuracy(answers: Sequence[Answers]) -> list[dict[str, Any]]:
    """Measured distances, accuracy, its 95 % Wilson interval and n of each query set, and what gives cause for doubt.

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
        **measure_doubts(answers),
    }


def measure_doubts(answers: Answers) -> dict[str, Any]:
    """Values of DOUBTS by name.

    `idle`: images that the attack did nothing to; `voters`: mean number of neighbours that an answer rests on, 0 where
    none vote; `copies`, `near`: images that the database has, pixel by pixel, or nearly by their codes.
    """
    return {
        "idle": _count(answers.idle),
        "voters": float(answers.cell.neighbors if answers.voters is None else answers.voters.mean()),
        "copies": _count(answers.copies),
        "near": _count(answers.near),
    }


def _count(values: np.ndarray | None) -> int:
    return 0 if values is None else int(values.sum())


MEASURED = ("delta_mean", "delta_max", "accuracy", "ci_low", "ci_high", "n")
DOUBTS = ("idle", "voters", "copies", "near")
ACCURACY = Kind((*MEASURED, *DOUBTS), measure_accuracy)
