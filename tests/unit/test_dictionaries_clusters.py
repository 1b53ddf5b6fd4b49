"""Clusters of drawn latents whose clusters are known, distances by hand, and options that are refused."""

import numpy as np
import pytest

from nndefense.core.errors import ConfigError, InputError
from nndefense.dictionaries.clusters import CRITERIA, central_members, choose_cluster, find_clusters

EACH = pytest.mark.parametrize("criterion", CRITERIA)


def blobs(sizes, distance=8.0, dimensions=40, seed=0):
    """Gaussian latents around centres of norm `distance`, (n, dimensions), and the centre of each."""
    random = np.random.default_rng(seed)
    centres = distance * np.eye(dimensions)[: len(sizes)] + 3
    owners = np.repeat(np.arange(len(sizes)), sizes)
    order = random.permutation(len(owners))
    latents = centres[owners] + random.standard_normal((len(owners), dimensions))
    return latents[order].astype(np.float32), owners[order]


def same_partition(one, other):
    return len(np.unique(np.stack([one, other]), axis=1).T) == len(np.unique(one)) == len(np.unique(other))


@EACH
@pytest.mark.parametrize("sizes", [[90, 70], [60, 60, 80], [200]])
def test_the_number_of_blobs_is_found(criterion, sizes):
    latents, owners = blobs(sizes)
    found = find_clusters(latents, np.zeros(len(latents), np.int64), criterion=criterion)
    assert len(found.means) == len(sizes)
    assert same_partition(found.members, owners)
    assert sorted(found.sizes) == sorted(sizes)


@EACH
def test_one_long_blob_is_one_cluster(criterion):
    """Cut in half it is narrower, which by itself is no reason to cut it."""
    latents = np.random.default_rng(1).standard_normal((400, 20)) * np.r_[2.0, np.ones(19)]
    found = find_clusters(latents, np.zeros(400, np.int64), criterion=criterion)
    assert len(found.means) == 1


@EACH
def test_classes_are_divided_each_by_itself(criterion):
    first, _ = blobs([80, 60], seed=1)
    second, _ = blobs([120], seed=2)
    third, _ = blobs([60, 70, 80], seed=3)
    latents = np.concatenate([first, second, third])
    labels = np.repeat([7, 2, 4], [140, 120, 210])
    order = np.random.default_rng(0).permutation(len(labels))
    found = find_clusters(latents[order], labels[order], criterion=criterion)
    assert found.classes.tolist() == [2, 4, 4, 4, 7, 7]
    np.testing.assert_array_equal(found.classes[found.members], labels[order])
    np.testing.assert_array_equal(np.bincount(found.members), found.sizes)
    assert found.scores.shape == (3, 5)
    for cluster in range(6):
        rows = latents[order][found.members == cluster].astype(np.float64)
        np.testing.assert_allclose(found.means[cluster], rows.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.deviations[cluster], rows.std(axis=0), rtol=1e-5)


@EACH
def test_small_clusters_are_not_made(criterion):
    latents, owners = blobs([150, 30])
    labels = np.zeros(180, np.int64)
    assert len(find_clusters(latents, labels, criterion=criterion).means) == 1
    found = find_clusters(latents, labels, criterion=criterion, smallest=30)
    assert same_partition(found.members, owners)
    assert len(find_clusters(latents, labels, criterion=criterion, smallest=30, most=1).means) == 1


@EACH
def test_classes_that_cannot_be_divided_are_one_cluster(criterion):
    latents, _ = blobs([50, 50])
    labels = np.repeat([0, 1], [1, 99])
    assert find_clusters(latents, labels, criterion=criterion).sizes.tolist() == [1, 99]
    flat = np.ones((120, 5), np.float32)
    found = find_clusters(flat, np.zeros(120, np.int64), criterion=criterion)
    assert found.sizes.tolist() == [120]
    assert not found.deviations.any()


def test_a_weak_silhouette_is_not_enough():
    latents, _ = blobs([100, 100], distance=3.0)
    labels = np.zeros(200, np.int64)
    weak = find_clusters(latents, labels)
    assert len(weak.means) == 1
    score = np.nanmax(weak.scores)
    assert 0 < score < 0.25
    assert len(find_clusters(latents, labels, least_silhouette=score).means) == np.nanargmax(weak.scores) + 1


def test_seeds_decide_and_rows_keep_their_clusters():
    latents, _ = blobs([100, 100], distance=1.5)
    labels = np.zeros(200, np.int64)
    options = {"least_silhouette": -1.0, "smallest": 20}
    one, other = (find_clusters(latents, labels, seed=4, **options) for _ in range(2))
    np.testing.assert_array_equal(one.members, other.members)
    np.testing.assert_array_equal(one.means, other.means)


def test_the_nearest_mean_is_chosen_and_ties_go_to_the_first():
    means = np.array([[0.0, 0], [4, 0], [0, 4]])
    latents = np.array([[1.0, 0], [3, 1], [2, 0], [0, 2], [-1, 5]])
    assert choose_cluster(latents, means).tolist() == [0, 1, 0, 0, 2]
    # Far from the origin, where expanded squares would lose these differences in single precision.
    far = np.float32(1e4)
    moved = choose_cluster((latents + far).astype(np.float32), (means + far).astype(np.float32))
    assert moved.tolist() == [0, 1, 0, 0, 2]


def test_mahalanobis_counts_dimensions_by_their_spread():
    means, deviations = np.array([[0.0, 0], [4, 0]]), np.array([[0.5, 1], [3, 1]])
    latents = np.array([[1.5, 0], [0.5, 0], [1.0, 2]])
    assert choose_cluster(latents, means).tolist() == [0, 0, 0]
    # 2.25 / 0.6875 against 6.25 / 8.5625, and so on: nine tenths of the own variance, a tenth of the mean 4.625.
    assert choose_cluster(latents, means, deviations, "mahalanobis").tolist() == [1, 0, 1]
    same = np.ones_like(means)
    assert choose_cluster(latents, means, same, "mahalanobis").tolist() == [0, 0, 0]


def test_a_dimension_that_is_constant_within_a_cluster_does_not_decide_alone():
    means, deviations = np.array([[0.0, 0], [5, 0]]), np.array([[1.0, 0], [1, 1]])
    assert choose_cluster(np.array([[0.0, 0.5]]), means, deviations, "mahalanobis").tolist() == [0]
    constant = np.array([[1.0, 0], [1, 0]])
    assert choose_cluster(np.array([[1.0, 9], [4, 9]]), means, constant, "mahalanobis").tolist() == [0, 1]


def test_drawn_latents_are_given_to_their_own_clusters():
    latents, owners = blobs([90, 70])
    found = find_clusters(latents, np.zeros(160, np.int64))
    fresh, fresh_owners = blobs([40, 40], seed=5)
    for options in ({}, {"deviations": found.deviations, "distance": "mahalanobis"}):
        assert same_partition(choose_cluster(latents, found.means, **options), owners)
        assert same_partition(choose_cluster(fresh, found.means, **options), fresh_owners)


def test_central_members_are_the_nearest_to_the_mean():
    latents, _ = blobs([90, 70])
    found = find_clusters(latents, np.zeros(160, np.int64))
    for cluster, rows in enumerate(central_members(latents, found, 5)):
        away = np.linalg.norm(latents - found.means[cluster], axis=1)
        away[found.members != cluster] = np.inf
        np.testing.assert_array_equal(rows, np.argsort(away)[:5])
    assert [len(rows) for rows in central_members(latents, found, 80)] == [min(80, size) for size in found.sizes]


def test_bad_arguments_are_named():
    latents, _ = blobs([60])
    labels = np.zeros(60, np.int64)
    for options, words in (
        ({"criterion": "aic"}, "criterion is 'aic'"),
        ({"most": 0}, "most is 0"),
        ({"smallest": 1}, "smallest 1"),
        ({"components": 0}, "components 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            find_clusters(latents, labels, **options)
    for one, other, words in (
        (latents, labels[:5], "do not fit"),
        (latents[:0], labels[:0], "do not fit"),
        (np.full_like(latents, np.nan), labels, "finite"),
        (latents, labels - 1, "labels >= 0"),
    ):
        with pytest.raises(InputError, match=words):
            find_clusters(one, other)
    with pytest.raises(ConfigError, match="distance is 'cosine'"):
        choose_cluster(latents, latents[:2], distance="cosine")
    with pytest.raises(InputError, match="do not fit"):
        choose_cluster(latents, latents[:2, 1:])
    with pytest.raises(InputError, match="mahalanobis needs deviations"):
        choose_cluster(latents, latents[:2], distance="mahalanobis")
    with pytest.raises(InputError, match="clusters of 60 latents"):
        central_members(latents[:5], find_clusters(latents, labels), 3)
