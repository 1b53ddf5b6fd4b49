"""Answers of a retrieval: of the base model, of the smoothed one by its mean embedding, and by the vote of its copies.

Draws are embeddings of noisy copies, as `scripts/draw_queries.py` stores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.axes.cells import Cell
from nndefense.certificates.draws import mean_of, read_blocks
from nndefense.core.arrays import read_array, read_arrays
from nndefense.core.seals import fault
from nndefense.evaluation.certified import CERTIFIED, Certificates, measure_certified
from nndefense.evaluation.intervals import wilson_interval

# Tables and figures read names from here while Snakemake parses, which SciPy would slow down.
if TYPE_CHECKING:
    from nndefense.certificates.base import Gallery

# What answers: the column `defense` of result rows.
BASE, MEAN, VOTE = "retrieval", "smoothed", "smoothed_vote"
RULES = {"base": BASE, "mean": MEAN, "vote": VOTE}
SPACE = "l2"
ATTACK = "metric"


def decision_of(certificate: str) -> str:
    """The decision that a certificate is about: "vote", of most noisy copies, or "mean", next to the mean embedding."""
    return "vote" if certificate == "vote" else "mean"


class Draws:
    """Draws on disk, mapped into memory: of each query the first ones, (n0, D), and the others, (n, D), float16.

    Args:
        path: the file.

    Raises:
        FileFault: a damaged file, or one of another number of draws than it says.
    """

    def __init__(self, path: str | Path) -> None:
        self.embeddings, about = read_array(path, mapped=True)
        try:
            self.first, self.count, self.queries = (int(about[key]) for key in ("first", "draws", "queries"))
            self.sigma = float(about["sigma"])
        except KeyError as error:
            raise fault(path, f"does not say its {error.args[0]}, so it holds no draws") from None
        if len(self.embeddings) != self.queries * (self.first + self.count):
            raise fault(path, f"has {len(self.embeddings)} rows for {self.queries} queries")

    def __len__(self) -> int:
        return self.queries

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        each = self.first + self.count
        for start in range(0, len(self.embeddings), each):
            own = self.embeddings[start : start + each]
            yield own[: self.first], own[self.first :]


def open_galleries(path: str | Path) -> tuple[Gallery, Gallery, bool]:
    """The base model's gallery, the smoothed one's, and whether embeddings have no negative entries."""
    from nndefense.certificates.base import Gallery

    stored = read_arrays(path, "base", "labels", "nonnegative", "smoothed")
    base, smoothed = (Gallery(stored[name], stored["labels"]) for name in ("base", "smoothed"))
    return base, smoothed, bool(stored["nonnegative"][0])


def smoothed_answers(draws: Draws, gallery: Gallery) -> dict[str, np.ndarray]:
    """Classes (n,) by all draws of each query: "mean", next to the mean embedding, and "vote", of most copies."""
    from nndefense.certificates.base import nearest_label
    from nndefense.certificates.vote import most_voted

    means, votes = [], []
    for first, others in draws:
        every = np.concatenate([first, others])
        means.append(mean_of(every, nonnegative=False))
        votes.append(most_voted(np.concatenate([nearest_label(rows, gallery) for rows in read_blocks(every, False)])))
    return {"mean": nearest_label(np.stack(means), gallery), "vote": np.array(votes)}


def guard_cell(task: str, size: int, embedding: str, rule: str, **query: Any) -> Cell:
    """The cell of a retrieval's answers by a rule; query: attack, setting, space, epsilon (default: clean images)."""
    clean = {"attack": "none", "setting": "clean", "space": "none", "epsilon": 0.0}
    return Cell(task, size, embedding, 1, "none", "none", RULES[rule], **{**clean, **query})


def share_row(cell: Cell, right: np.ndarray, sigma: float) -> tuple[Cell, dict[str, Any]]:
    """Recall@1 of answers, with its 95 % Wilson interval: a row beside certified ones.

    Args:
        cell: whose answers they are. right: (n,) bool. sigma: of the noise.
    """
    count, n = int(right.sum()), len(right)
    low, high = wilson_interval(count, n)
    nothing = {"abstained": float("nan"), "mean_radius": float("nan")}
    return cell, {"sigma": sigma, "accuracy": count / n, "ci_low": low, "ci_high": high, "n": n, **nothing}


def certified_rows(
    cell: Cell, certificate: str, path: str | Path, radii: Sequence[float]
) -> list[tuple[Cell, dict[str, Any]]]:
    """Certified recall at each radius, of a file of `scripts/certify_queries.py`."""
    stored = read_arrays(path, "classes", "labels", "radius", "rows", "sigma")
    own = cell._replace(attack=certificate, setting=CERTIFIED, space=SPACE)
    arrays = {name: stored[name] for name in ("classes", "labels", "rows", "radius")}
    return measure_certified(Certificates(own, **arrays, sigma=float(stored["sigma"][0])), radii)


def attacked_rows(cell: Cell, path: str | Path, rule: str, sigma: float) -> list[tuple[Cell, dict[str, Any]]]:
    """Recall@1 under attack at each radius, of a file of `scripts/attack_retrieval.py`; at 0 that of the same images.

    An image that a smaller radius broke is broken at the larger ones.
    """
    stored = read_arrays(path, "labels", "radii", f"{rule}/classes", f"{rule}/clean")
    right = stored[f"{rule}/clean"] == stored["labels"]
    own = cell._replace(attack=ATTACK, setting="white_box", space=SPACE)
    rows = [share_row(own, right, sigma)]
    for radius, classes in zip(stored["radii"].tolist(), stored[f"{rule}/classes"], strict=True):
        right = right & (classes == stored["labels"])
        rows.append(share_row(own._replace(epsilon=radius), right, sigma))
    return rows


def flips(stored: Mapping[str, np.ndarray], rule: str) -> tuple[int, int]:
    """Certified answers of a rule that an attack within their radius changed, and how many were attacked."""
    own = stored["rule"] == rule
    return int((stored["answered"] != stored["certified"])[own].sum()), int(own.sum())
