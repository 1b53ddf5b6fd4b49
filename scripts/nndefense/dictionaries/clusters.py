"""Clusters of latents within each class: PCA, k-means, and a number of clusters chosen by what they are like.

What a cluster is like is kept in the space of the latents, where networks can be compared with it: mean and standard
deviation of each dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.seeds import derive_seed
from nndefense.features.pca import Moments, fit_pca

CRITERIA = ("silhouette", "bic")
DISTANCES = ("mse", "mahalanobis")
# Share of the clusters' mean variance in the variance that distances to each are measured in: a dimension that happens
# to be constant within a cluster would else outweigh all others.
SHRINKAGE = 0.1
# Rows that silhouettes are computed from at most: their cost is quadratic.
_SILHOUETTE_ROWS = 2000


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of all classes, numbered class by class.

    Attributes:
        classes: the class of each cluster, (K,) int64, ascending.
        means: (K, D) float32.
        deviations: standard deviations, (K, D) float32.
        sizes: members, (K,) int64.
        members: the cluster of each row that they were made from, (n,) int64.
        scores: criterion of each number of clusters, (classes, most) float64, more is better; NaN where that number
            was not possible, and for silhouettes of one cluster.
    """

    classes: NDArray[np.int64]
    means: NDArray[np.float32]
    deviations: NDArray[np.float32]
    sizes: NDArray[np.int64]
    members: NDArray[np.int64]
    scores: NDArray[np.float64]


def find_clusters(
    latents: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    most: int = 5,
    smallest: int = 50,
    components: int = 32,
    criterion: str = "silhouette",
    least_silhouette: float = 0.25,
    seed: int = 0,
) -> Clusters:
    """Clusters of each class's latents.

    A class has as many clusters, from 1 to `most`, as score best among those numbers whose every cluster is large
    enough. Silhouettes (Rousseeuw 1987) do not tell whether one cluster is better, so that there is one unless the best
    number's mean silhouette is `least_silhouette` or more. The Bayesian information criterion (Schwarz 1978), which
    covers one, too, is of Gaussians with diagonal covariances in PCA space, each row counting for its own cluster.

    Args:
        latents: (n, D) finite.
        labels: (n,) classes >= 0.
        most: clusters of a class at most, >= 1.
        smallest: members of each where a class has several, >= 2.
        components: dimensions that a class's latents are reduced to for k-means, >= 1.
        criterion: one of CRITERIA.
        least_silhouette: from -1 to 1.
        seed: of the k-means of each class.

    Raises:
        ConfigError: an option out of range.
        InputError: latents and labels that do not fit, or are not finite.
    """
    _check(latents, labels, most, smallest, components, criterion)
    classes = np.unique(labels)
    members = np.empty(len(labels), dtype=np.int64)
    scores = np.full((len(classes), most), np.nan)
    owners: list[int] = []
    for place, label in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        found, scores[place] = _divide(
            latents[rows], most, smallest, components, criterion, least_silhouette, derive_seed(seed, int(label))
        )
        members[rows] = len(owners) + found
        owners += [int(label)] * (int(found.max()) + 1)
    groups = [latents[members == cluster].astype(np.float64) for cluster in range(len(owners))]
    return Clusters(
        classes=np.array(owners, dtype=np.int64),
        means=np.stack([group.mean(axis=0) for group in groups]).astype(np.float32),
        deviations=np.stack([group.std(axis=0) for group in groups]).astype(np.float32),
        sizes=np.array([len(group) for group in groups], dtype=np.int64),
        members=members,
        scores=scores,
    )


def _divide(
    latents: NDArray[np.floating],
    most: int,
    smallest: int,
    components: int,
    criterion: str,
    least: float,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The cluster of each row of a class, (n,), and the score of each number of clusters, (most,)."""
    from sklearn.cluster import KMeans

    scores = np.full(most, np.nan)
    whole = np.zeros(len(latents), dtype=np.int64)
    if len(latents) < 2 * smallest or most == 1 or not np.ptp(latents, axis=0).any():
        return whole, scores
    codes = fit_pca(Moments.empty(latents.shape[1]).update(latents), components).transform(latents)
    candidates = {1: whole}
    state = seed % (1 << 32)
    for k in range(2, min(most, len(latents) // smallest) + 1):
        found = KMeans(k, n_init=10, random_state=state).fit_predict(codes).astype(np.int64)
        if np.bincount(found, minlength=k).min() >= smallest:
            candidates[k] = found
    for k, found in candidates.items():
        if criterion == "bic":
            scores[k - 1] = _information(codes, found)
        elif k > 1:
            scores[k - 1] = _silhouette(codes, found, state)
    if np.isnan(scores).all():
        return whole, scores
    best = int(np.nanargmax(scores)) + 1
    if criterion == "silhouette" and scores[best - 1] < least:
        return whole, scores
    return candidates[best], scores


def _silhouette(codes: NDArray[np.floating], found: NDArray[np.int64], state: int) -> float:
    from sklearn.metrics import silhouette_score

    some = _SILHOUETTE_ROWS if len(codes) > _SILHOUETTE_ROWS else None
    return float(silhouette_score(codes, found, sample_size=some, random_state=state))


def _information(codes: NDArray[np.floating], found: NDArray[np.int64]) -> float:
    """Minus half the Bayesian information criterion: log-likelihood less parameters / 2 times log(rows)."""
    rows, dimensions = codes.shape
    total = 0.0
    floor = 1e-6 * float(np.var(codes.astype(np.float64), axis=0).mean())
    clusters = int(found.max()) + 1
    for cluster in range(clusters):
        group = codes[found == cluster].astype(np.float64)
        variances = np.maximum(group.var(axis=0), floor)
        spread = np.log(2 * np.pi * variances).sum() + (group.var(axis=0) / variances).sum()
        total += len(group) * (np.log(len(group) / rows) - spread / 2)
    return total - (clusters * (2 * dimensions + 1) - 1) / 2 * np.log(rows)


def choose_cluster(
    latents: NDArray[np.floating],
    means: NDArray[np.floating],
    deviations: NDArray[np.floating] | None = None,
    distance: str = "mse",
) -> NDArray[np.int64]:
    """The nearest cluster of each latent, (n,); ties to the first.

    Args:
        latents: (n, D).
        means: (K, D) of the clusters.
        deviations: (K, D) >= 0, needed for `mahalanobis`.
        distance: `mse`, to the mean (Silva et al. 2022), or `mahalanobis`, where each dimension counts by the cluster's
            own variance, a tenth of which is replaced by the mean of all clusters'.

    Raises:
        ConfigError: another distance.
        InputError: arrays that do not fit.
    """
    if distance not in DISTANCES:
        raise ConfigError(f"distance is {distance!r}; allowed: {', '.join(DISTANCES)}")
    if latents.ndim != 2 or means.ndim != 2 or latents.shape[1] != means.shape[1] or not len(means):
        raise InputError(f"latents {latents.shape} and means {means.shape} do not fit; needed: (n, D), (K, D), K >= 1")
    if distance == "mse":
        return _distances(latents, means, np.ones_like(means, dtype=np.float64)).argmin(axis=1)
    if deviations is None or deviations.shape != means.shape:
        got = None if deviations is None else deviations.shape
        raise InputError(f"mahalanobis needs deviations {means.shape}, got {got}")
    variances = np.square(deviations.astype(np.float64))
    shared = variances.mean(axis=0)
    variances = (1 - SHRINKAGE) * variances + SHRINKAGE * shared
    # A dimension that is constant within every cluster says nothing of how far is far.
    precisions = np.divide(1, variances, out=np.zeros_like(variances), where=shared > 0)
    return _distances(latents, means, precisions).argmin(axis=1)


def true_clusters(
    latents: NDArray[np.floating],
    labels: NDArray[np.integer],
    means: NDArray[np.floating],
    classes: NDArray[np.integer],
) -> NDArray[np.int64]:
    """The nearest cluster of each image among those of its own class, (n,) int64.

    Args:
        latents: (n, D).
        labels: (n,), classes that have clusters.
        means: (K, D) of the clusters.
        classes: (K,) of the clusters.

    Raises:
        InputError: a class without clusters.
    """
    chosen = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(classes == label)
        if not len(places):
            raise InputError(f"class {label} has no clusters; allowed: {', '.join(map(str, np.unique(classes)))}")
        own = labels == label
        chosen[own] = places[choose_cluster(latents[own], means[places])]
    return chosen


def _distances(
    latents: NDArray[np.floating], means: NDArray[np.floating], precisions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sums over dimensions of precision times squared difference, (n, K)."""
    columns = []
    for mean, precision in zip(means, precisions, strict=True):
        # One cluster at a time, and no expanded squares: their difference would lose the digits of near ties.
        columns.append(np.square(latents.astype(np.float64) - mean) @ precision)
    return np.stack(columns, axis=1)


def central_members(latents: NDArray[np.floating], clusters: Clusters, count: int) -> list[NDArray[np.int64]]:
    """Rows of each cluster's members nearest to its mean, at most `count`, nearest first.

    Args:
        latents: (n, D) that the clusters were made from.
        clusters: of `find_clusters`.
        count: >= 1.

    Raises:
        InputError: other latents.
    """
    if latents.shape != (len(clusters.members), clusters.means.shape[1]):
        raise InputError(f"clusters of {len(clusters.members)} latents do not fit latents {latents.shape}")
    found = []
    for cluster, mean in enumerate(clusters.means):
        rows = np.flatnonzero(clusters.members == cluster)
        away = np.square(latents[rows].astype(np.float64) - mean).sum(axis=1)
        found.append(rows[np.argsort(away, kind="stable")[:count]])
    return found


def _check(
    latents: NDArray[np.floating],
    labels: NDArray[np.integer],
    most: int,
    smallest: int,
    components: int,
    criterion: str,
) -> None:
    if criterion not in CRITERIA:
        raise ConfigError(f"criterion is {criterion!r}; allowed: {', '.join(CRITERIA)}")
    if min(most, components) < 1 or smallest < 2:
        raise ConfigError(
            f"most is {most}, components {components}, smallest {smallest}; allowed: integers >= 1, 1 and 2"
        )
    if latents.ndim != 2 or labels.shape != latents.shape[:1] or not len(labels):
        raise InputError(f"latents {latents.shape} and labels {labels.shape} do not fit; needed: (n, D), (n,), n >= 1")
    if not np.isfinite(latents).all() or labels.min() < 0:
        raise InputError("clusters need finite latents and labels >= 0")
