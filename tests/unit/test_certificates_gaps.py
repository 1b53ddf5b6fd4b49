"""The formulas of certified radii: closed forms, the ends of ranges, and where the distribution is bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from nndefense.certificates.base import pair_up
from nndefense.certificates.cdf import THRESHOLDS, cdf_gaps, place_thresholds
from nndefense.certificates.gaussian import gaussian_gaps
from nndefense.certificates.linear import linear_radius
from nndefense.certificates.vote import most_voted, vote_radius
from nndefense.core.errors import InputError

SIGMA = 0.25


def test_formulas_of_the_half_space():
    """a = 0.2: certificate B finds the true distance, A 0.181; both whatever the length of the gallery's vectors."""
    mean = 2 * ndtr(0.2 / SIGMA) - 1
    assert linear_radius(mean, SIGMA, False) == pytest.approx(0.181, abs=5e-4)
    assert SIGMA * gaussian_gaps(np.array([-mean]), np.zeros(1), -np.ones(1), np.ones(1)) == pytest.approx(0.2)
    above = np.array([[1, 1 - ndtr(0.2 / SIGMA)]])
    assert SIGMA * cdf_gaps(np.array([[-1.0, -1.0]]), above, np.zeros(1), np.ones(1)) == pytest.approx(0.2)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_with_exact_distributions_the_cdf_is_at_least_b_and_b_at_least_a(seed, nonnegative):
    """Of variables with few values within a pair's range, whose distribution is known."""
    rng = np.random.default_rng(seed)
    point, right, wrong = rng.uniform(0 if nonnegative else -0.5, 0.5, (3, 4))
    pairs = pair_up(point, right[None], wrong[None], nonnegative)
    low, high = pairs.lows[0], pairs.highs[0]
    values = np.sort(rng.uniform(low, high, 5))[None]
    shares = rng.dirichlet(np.full(5, 0.5))[None]
    mean = (values * shares).sum(axis=1)
    end = mean + rng.random() * (pairs.highs - mean)
    by_line = linear_radius(end[0] - mean[0], 1.0, nonnegative)
    by_mean = gaussian_gaps(mean, end, pairs.lows, pairs.highs)[0]
    above = np.clip(1 - np.cumsum(shares, axis=1), 0, 1)
    by_shares = cdf_gaps(values, above, end, pairs.highs)[0]
    assert by_line * (1 - 1e-9) <= by_mean
    assert by_mean * (1 - 1e-9) <= by_shares + 1e-9


def test_gaps_at_the_ends_of_the_range_are_conservative():
    ends = np.array([1.0, 1.2, -1.0, -1.5, 0.5, 0.5, 1.0, 0.0])
    means = np.array([0.3, 1.5, -1.0, -0.5, 1.0, 1.4, 1.0, 0.0])
    lows, highs = -np.ones(8), np.ones(8)
    by_mean = gaussian_gaps(means, ends, lows, highs)
    assert by_mean.tolist() == [np.inf, np.inf, 0, 0, 0, 0, np.inf, 0]
    thresholds = np.tile([-1.0, 0.0, 1.0], (5, 1))
    above = np.array([[1, 1, 1], [1, 0.5, 1e-9], [0, 0, 0], [1, 0, 0], [1, 1e-300, 0]])
    bisectors, highs = np.array([1 - 1e-6, 1.0, -1.0, 0.0, 0.5]), np.ones(5)
    found = cdf_gaps(thresholds, above, bisectors, highs)
    assert found[:2].tolist() == [0, np.inf]
    assert found[2:4].tolist() == [80, 80]
    assert 37 < found[4] < 38
    assert cdf_gaps(thresholds, above, bisectors, highs, limit=1.0).tolist() == [0, 1, 1, 1, 1]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_gaps_are_numbers_that_grow_with_the_bisector_and_fall_with_the_bounds(seed):
    rng = np.random.default_rng(seed)
    lows, highs = np.full(9, -0.7), np.full(9, 0.9)
    ends = np.sort(rng.choice([-1.0, -0.7, 0.9, 1.0, *rng.uniform(-0.7, 0.9, 9)], 9))
    mean = rng.choice([-0.7, 0.9, rng.uniform(-0.7, 0.9)])
    first = rng.choice([-0.7, 0.9, *rng.uniform(-0.7, 0.9, 3)], (rng.integers(1, 30), 1))
    thresholds = np.tile(place_thresholds(first, lows[:1], highs[:1]), (9, 1))
    above = np.tile(np.sort(rng.choice([0, 1, *rng.random(9)], THRESHOLDS))[::-1], (9, 1))
    for gaps, larger in (
        (gaussian_gaps(np.full(9, mean), ends, lows, highs), gaussian_gaps(np.full(9, mean + 0.1), ends, lows, highs)),
        (cdf_gaps(thresholds, above, ends, highs), cdf_gaps(thresholds, np.minimum(above + 0.1, 1), ends, highs)),
    ):
        assert (gaps >= 0).all()
        assert (gaps[1:] >= gaps[:-1] * (1 - 1e-9)).all()
        assert (larger <= gaps).all()


@pytest.mark.parametrize("n", [1, 2, 300])
def test_thresholds_part_the_range_of_the_first_draws_in_small_steps(n):
    rng = np.random.default_rng(7)
    first = np.stack([rng.normal(0, 0.1, n), np.sign(rng.normal(size=n)), np.full(n, 0.2)], axis=1).clip(-1, 1)
    found = place_thresholds(first, np.full(3, -1.2), np.full(3, 1.2))
    assert found.shape == (3, THRESHOLDS)
    assert (np.diff(found, axis=1) >= 0).all()
    assert (found[:, -1] < 1.2).all()
    assert (found[:, 0] >= first.min(axis=0)).all()
    assert (found[:, 0] <= first.min(axis=0) + 2e-9).all()
    line = np.sort(first[:, 0])
    shares = 1 - np.searchsorted(line, found[0], side="right") / n
    falls, widths = -np.diff(shares), np.diff(found[0])
    if n == 300:
        # At 120 quantiles it would be 1 / 120.
        assert (falls * widths).sum() < 0.8 * np.ptp(line) / 120
        # An atom falls on one side of the threshold that it made, whichever way it is rounded.
        assert not np.isin(first[:, 1], found[1]).any()
        assert (np.abs(found[1] - -1) < 1e-8).any()


def test_votes_certify_any_classifier():
    assert most_voted(np.array([2, 0, 2, 0, 1])) == 0
    assert vote_radius(990, 1000, 0.5, 0.001) == pytest.approx(0.5 * ndtri(binom_lower(990, 1000, 0.001)), rel=1e-6)
    assert vote_radius(500, 1000, 0.5, 0.001) < 0
    assert vote_radius(0, 10, 0.5, 0.001) == -np.inf
    with pytest.raises(InputError, match="labels >= 0, got 2, the smallest -1"):
        most_voted(np.array([-1, 2]))
    with pytest.raises(InputError, match="got 0"):
        most_voted(np.array([], int))


def binom_lower(count, n, alpha):
    """The share at which `count` or more successes have the probability alpha, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if binom.sf(count - 1, n, middle) < alpha else (low, middle)
    return low
