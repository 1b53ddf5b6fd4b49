"""Random projection and locality-sensitive hashing against closed forms and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from nndefense.core.errors import ConfigError, InputError
from nndefense.models.lsh import PStableLSH, collision_probability, default_width
from nndefense.models.projection import random_projection


def clusters(rows: int, queries: int, dimension: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows and queries from the same 20 clusters."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(20, dimension)) * 3
    drawn = centers[generator.integers(0, 20, rows + queries)] + generator.normal(size=(rows + queries, dimension))
    return drawn[:rows].astype(np.float32), drawn[rows:].astype(np.float32)


def brute_force(keys: np.ndarray, query: np.ndarray, rows: np.ndarray, count: int) -> list[int]:
    """The nearest of these rows; of equal ones the smaller."""
    squared = ((keys[rows] - query) ** 2).sum(1)
    return [row for _, row in sorted(zip(squared.tolist(), rows.tolist(), strict=True))[:count]]


# -- projection


def test_squared_length_of_a_projection_is_chi_squared_and_right_in_the_mean():
    vector, components = np.random.default_rng(0).normal(size=40), 16
    lengths = np.array([np.sum((random_projection(40, components, seed) @ vector) ** 2) for seed in range(600)])
    scaled = components * lengths / np.sum(vector**2)
    assert stats.kstest(scaled, stats.chi2(components).cdf).pvalue > 1e-3
    # The mean of 600 values is within four of its standard errors.
    assert abs(scaled.mean() - components) < 4 * np.sqrt(2 * components / 600)
    assert stats.kstest(1.1 * scaled, stats.chi2(components).cdf).pvalue < 1e-3


def test_distances_are_distorted_no_more_than_johnson_and_lindenstrauss_allow():
    points, components, epsilon = np.random.default_rng(1).normal(size=(60, 200)), 256, 0.3
    projected = points @ random_projection(200, components, seed=3).T
    first, second = np.triu_indices(60, 1)
    before = ((points[first] - points[second]) ** 2).sum(1)
    ratio = ((projected[first] - projected[second]) ** 2).sum(1) / before
    bound = 2 * np.exp(-(epsilon**2 / 2 - epsilon**3 / 3) * components / 2)
    assert bound < 0.02
    assert (np.abs(ratio - 1) > epsilon).mean() <= bound
    # Narrower projections distort more, by about sqrt(2 / components).
    narrow = points @ random_projection(200, 16, seed=3).T
    spread = (((narrow[first] - narrow[second]) ** 2).sum(1) / before).std()
    assert spread == pytest.approx(np.sqrt(2 / 16), rel=0.25)
    assert ratio.std() == pytest.approx(np.sqrt(2 / 256), rel=0.25)


def test_projection_depends_on_the_seed_alone():
    assert np.array_equal(random_projection(5, 3, 1), random_projection(5, 3, 1))
    assert not np.array_equal(random_projection(5, 3, 1), random_projection(5, 3, 2))
    assert random_projection(5, 3, 1).shape == (3, 5)
    with pytest.raises(ConfigError, match="from 5 to 0"):
        random_projection(5, 0, 1)


# -- hashing


def test_collision_probability_is_the_integral_of_datar_et_al():
    for distance, width in ((0.2, 1.0), (1.3, 4.0), (3.0, 4.0), (10.0, 4.0)):
        density = lambda t, c=distance, w=width: 2 * stats.norm.pdf(t / c) / c * (1 - t / w)  # noqa: E731
        assert collision_probability(distance, width) == pytest.approx(integrate.quad(density, 0, width)[0], abs=1e-9)
    assert collision_probability(1.3, 4.0) == pytest.approx(0.7409, abs=5e-5)
    assert collision_probability(0.0, 4.0) == 1
    assert np.all(np.diff(collision_probability(np.linspace(0, 9, 50), 4.0)) < 0)


@pytest.mark.parametrize("distance", [0.4, 1.3, 3.0, 8.0])
def test_hashes_collide_as_often_as_the_closed_form_says(distance):
    trials, width = 20000, 4.0
    direction = np.random.default_rng(5).normal(size=12)
    pair = np.stack([np.ones(12), 1 + distance * direction / np.linalg.norm(direction)]).astype(np.float32)
    buckets = PStableLSH(pair, width=width, hashes=1, tables=trials, seed=7).buckets(pair)
    collisions = int((buckets[:, 0] == buckets[:, 1]).sum())
    expected = float(collision_probability(distance, width))
    assert stats.binomtest(collisions, trials, expected).pvalue > 1e-3
    # The test tells a width that is 30 % off.
    wrong = float(collision_probability(distance, 1.3 * width))
    assert stats.binomtest(collisions, trials, wrong).pvalue < 1e-3


def test_tables_of_several_hashes_collide_with_the_power():
    trials, width, hashes, distance = 6000, 4.0, 3, 1.3
    pair = np.zeros((2, 6), np.float32)
    pair[1, 2] = distance
    buckets = PStableLSH(pair, width=width, hashes=hashes, tables=trials, seed=2).buckets(pair)
    collisions = int((buckets[:, 0] == buckets[:, 1]).sum())
    assert stats.binomtest(collisions, trials, float(collision_probability(distance, width)) ** hashes).pvalue > 1e-3


def test_recall_at_the_defaults_on_clusters():
    keys, queries = clusters(4000, 200)
    found = PStableLSH(keys, width=default_width(keys), seed=1).search(queries, 10)
    everything = np.arange(len(keys))
    nearest = [set(brute_force(keys, query, everything, 10)) for query in queries]
    recall = np.mean([len(set(ids) & other) / 10 for ids, other in zip(found.ids.tolist(), nearest, strict=True)])
    assert recall >= 0.9
    assert found.candidates.mean() < len(keys) / 2


@given(st.integers(0, 10_000), st.floats(0.3, 8), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_candidates_and_their_ranking_equal_brute_force(seed, width, hashes, tables, count):
    generator = np.random.default_rng(seed)
    # Integers make equal rows and equal distances likely.
    keys = generator.integers(-2, 3, (30, 3)).astype(np.float32)
    queries = generator.integers(-2, 3, (7, 3)).astype(np.float32)
    lsh = PStableLSH(keys, width=width, hashes=hashes, tables=tables, seed=seed)
    stored, asked = lsh.buckets(keys), lsh.buckets(queries)
    found = lsh.search(queries, count)
    for place, query in enumerate(queries):
        rows = np.flatnonzero((stored == asked[:, place, None]).any(axis=0))
        assert found.candidates[place] == len(rows)
        assert found.exhaustive[place] == (len(rows) < count)
        if found.exhaustive[place]:
            rows = np.arange(len(keys))
        assert found.ids[place].tolist() == brute_force(keys, query, rows, count)
        distances = np.linalg.norm(keys[found.ids[place]] - query, axis=1)
        np.testing.assert_allclose(found.distances[place], distances, rtol=1e-6)


def test_queries_without_candidates_are_answered_from_all_rows():
    keys, _ = clusters(300, 0)
    queries = keys[:5] + 100
    found = PStableLSH(keys, width=0.5).search(queries, 4)
    assert found.exhaustive.all()
    assert not found.candidates.any()
    everything = np.arange(300)
    assert found.ids.tolist() == [brute_force(keys, query, everything, 4) for query in queries]


def test_answers_do_not_depend_on_the_other_queries(monkeypatch):
    keys, queries = clusters(500, 40)
    lsh = PStableLSH(keys, width=default_width(keys))
    whole = lsh.search(queries, 5)
    monkeypatch.setattr("nndefense.models.lsh.MARKS", 7 * 500)
    monkeypatch.setattr("nndefense.models.lsh.PAIRS", 11)
    assert np.array_equal(lsh.search(queries, 5).ids, whole.ids)
    assert np.array_equal(lsh.search(queries[::-1], 5).ids[::-1], whole.ids)
    assert lsh.search(queries[:0], 5).ids.shape == (0, 5)


def test_default_width_is_four_times_the_median_distance_to_another_row():
    line = np.array([[0.0], [1.0], [3.0], [6.0], [6.0]], np.float32)
    assert default_width(line) == pytest.approx(4 * np.median([1, 1, 2, 3, 3]))
    assert default_width(np.zeros((3, 2), np.float32)) == 1.0


@pytest.mark.parametrize(
    ("options", "message"), [({"width": 0.0}, "width 0"), ({"width": np.inf}, "width inf"), ({"tables": 0}, "tables 0")]
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        PStableLSH(np.zeros((3, 2), np.float32), **{"width": 1.0, **options})


def test_unusable_vectors_are_refused():
    lsh = PStableLSH(np.zeros((3, 2), np.float32), width=1.0)
    with pytest.raises(InputError, match="3 dimensions, the keys have 2"):
        lsh.search(np.zeros((1, 3), np.float32), 1)
    with pytest.raises(InputError, match="4 neighbours of 3 rows"):
        lsh.search(np.zeros((1, 2), np.float32), 4)
    with pytest.raises(InputError, match="queries must be finite"):
        lsh.search(np.full((1, 2), np.nan, np.float32), 1)
