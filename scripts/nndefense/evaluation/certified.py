"""Certified accuracy: the share of images that are answered right, and provably so within a radius.

A certificate gives each image an answer and a radius; it abstains (no class, radius 0) where it can prove nothing. An
image counts at a radius where the answer is right and proven to be the same within that radius: a bound from below on
the robust accuracy, where attacks bound it from above.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from nndefense.axes.cells import Cell, System
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import InputError
from nndefense.core.seals import fault
from nndefense.evaluation.accuracy import MEASURED
from nndefense.evaluation.intervals import wilson_interval

CERTIFIED = "certified"
# Behind the columns AXES; `epsilon` is the radius, `attack` the certificate, `space` what the radius is measured in.
COLUMNS = ("sigma", *MEASURED[2:], "abstained", "mean_radius")
NO_CLASS = -1
SPLIT = "@"


@dataclass(frozen=True)
class Certificates:
    """What a certificate says of a system's answers.

    Attributes:
        cell: the system; attack: name of the certificate; setting: "certified"; space: of the radius, "l2" (distance of
            images in [0, 1]) or "insertions"; epsilon: 0.
        classes: (n,) integers; -1 where the certificate abstains. labels, rows: (n,) integers, of the images.
        radius: (n,) float64 >= 0, within which the answer is proven to stay the same.
        sigma: standard deviation of the noise; 0 without any.
    """

    cell: Cell
    classes: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    radius: np.ndarray
    sigma: float = 0.0

    @property
    def correct(self) -> np.ndarray:
        """(n,) bool: answered, and right."""
        return (self.classes == self.labels) & (self.classes != NO_CLASS)


def certified_cell(system: System, certificate: str, space: str) -> Cell:
    """The cell of a certificate of a system."""
    return Cell(*system, attack=certificate, setting=CERTIFIED, space=space, epsilon=0.0)


def measure_certified(one: Certificates, radii: Sequence[float]) -> list[tuple[Cell, dict[str, Any]]]:
    """The certified accuracy at each radius, with its 95 % Wilson interval and n.

    `mean_radius` counts images that are answered wrong, or not, as 0, and an infinite radius, within which no other
    answer is possible, as the largest finite number among images' radii and `radii`: it stays a bound from below. At
    radius 0 an image counts where its radius is above 0 or the certificate answers at all.

    Raises:
        InputError: arrays that do not fit each other, a negative radius or NaN among the radii, or no image.
    """
    n = len(one.labels)
    if not (one.classes.shape == one.labels.shape == one.radius.shape == (n,)):
        raise InputError(
            f"certificates need (n,) arrays, got {one.classes.shape}, {one.labels.shape}, {one.radius.shape}"
        )
    if not n or not all((np.asarray(values) >= 0).all() for values in (one.radius, radii)):
        raise InputError(f"certificates need radii >= 0 and an image, got {n} images")
    held = np.where(one.correct, one.radius, -1.0)
    finite = [value for value in (*radii, *held) if value < inf]
    common = {
        "sigma": one.sigma,
        "n": n,
        "abstained": float((one.classes == NO_CLASS).mean()),
        "mean_radius": float(np.clip(held, 0.0, max(finite, default=0.0)).mean()),
    }
    rows = []
    for radius in radii:
        count = int((held >= radius).sum())
        low, high = wilson_interval(count, n)
        share = {"accuracy": count / n, "ci_low": low, "ci_high": high}
        rows.append((one.cell._replace(epsilon=float(radius)), common | share))
    return rows


def write_certificates(
    path: str | Path,
    labels: np.ndarray,
    rows: np.ndarray,
    found: Mapping[System, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Write what one certificate says of systems on the same images.

    Args:
        path: .npz to write.
        labels, rows: (n,) integers, of the images.
        found: system -> classes (n,), -1 where it abstains, and radii (n,).
    """
    arrays = {}
    for system, (classes, radius) in found.items():
        arrays[f"classes{SPLIT}{system}"] = classes.astype(np.int32)
        arrays[f"radius{SPLIT}{system}"] = radius.astype(np.float64)
    write_arrays(path, labels=labels, rows=rows, **arrays)


def read_certificates(
    path: str | Path, features: str, certificate: str, space: str, sigma: float = 0.0
) -> list[Certificates]:
    """What a certificate says of systems, in the order of the file.

    Args:
        path: the file.
        features: layer, or defence, that the file's place names.
        certificate: its name.
        space: what the radius is measured in.
        sigma: standard deviation of the noise.

    Raises:
        FileFault: a damaged file, or one without radii.
    """
    stored = read_arrays(path)
    found = []
    for name, classes in stored.items():
        what, split, system = name.partition(SPLIT)
        if not split or what != "classes":
            continue
        if f"radius{SPLIT}{system}" not in stored:
            raise fault(path, f"lacks radius{SPLIT}{system}")
        cell = certified_cell(System.parse(system, features), certificate, space)
        radius = stored[f"radius{SPLIT}{system}"]
        found.append(Certificates(cell, classes, stored["labels"], stored["rows"], radius, sigma))
    return found
