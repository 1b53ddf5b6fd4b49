"""Monte-Carlo bounds: miss probabilities, exact for two-valued draws and counted for vectors, and values by hand."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from nndefense.certificates.bounds import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    empirical_bernstein,
    mcdiarmid_error,
    vector_error,
)
from nndefense.core.errors import InputError

ALPHA = 0.05
SHARES = np.concatenate([np.geomspace(1e-4, 0.1, 60), np.linspace(0.1, 1, 91)])


def misses(n, holds):
    """For each share q, the exact probability that a bound fails; holds(k, q) for the k of n draws that are 1."""
    k = np.arange(n + 1)[:, None]
    return (binom.pmf(k, n, SHARES) * ~holds(k, SHARES)).sum(axis=0)


def unit_rows(rng, *shape, centre=0.0):
    rows = rng.standard_normal(shape)
    rows[..., 0] += centre
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("n", [1, 2, 7, 50, 400])
def test_errors_of_vectors_hold_for_all_two_valued_unit_vectors(n):
    means = 1 - 2 * np.arange(n + 1)[:, None] / n
    errors = {
        "mcdiarmid": np.full((n + 1, 1), mcdiarmid_error(n, ALPHA)),
        "bernstein": np.array([[vector_error(abs(mean), n, ALPHA)] for mean in means[:, 0]]),
    }
    for name, error in errors.items():
        missed = misses(n, lambda k, q, error=error: np.abs(means - (1 - 2 * q)) <= error)
        assert missed.max() <= ALPHA, name


def test_a_variance_taken_at_the_mean_of_the_draws_would_fail():
    """What the fixed point is for: draws that happen to be equal look as if there were nothing to miss."""
    n = 50
    tail = np.log(2 / ALPHA)

    def plug_in(k, q):
        mean = 1 - 2 * k / n
        error = (2 * tail / 3 + np.sqrt(4 * tail**2 / 9 + 2 * n * tail * (1 - mean**2))) / n
        return np.abs(mean - (1 - 2 * q)) <= error

    assert misses(n, plug_in).max() > 1.15 * ALPHA


@pytest.mark.parametrize(("centre", "shrink", "loose"), [(0.0, 1.0, 3), (1.5, 1.0, 4), (6.0, 1.0, 6), (1.5, 0.6, 6)])
def test_errors_of_vectors_hold_over_repetitions_and_are_not_loose(centre, shrink, loose):
    """Directions around an axis, also shorter than 1: E h lies on the axis, and is measured from all draws."""
    rng = np.random.default_rng(1)
    repetitions, n = 3000, 60
    draws = shrink * unit_rows(rng, repetitions, n, 3, centre=centre)
    expected = draws.mean(axis=(0, 1)) * [1, 0, 0]
    means = draws.mean(axis=1)
    errors = np.linalg.norm(means - expected, axis=1)
    bounds = np.array([vector_error(length, n, ALPHA) for length in np.linalg.norm(means, axis=1)])
    assert (errors > bounds).mean() <= ALPHA
    assert (errors > mcdiarmid_error(n, ALPHA)).mean() <= ALPHA
    assert (bounds < mcdiarmid_error(n, ALPHA)).all()
    assert bounds.mean() < loose * np.quantile(errors, 1 - ALPHA)


def test_errors_of_vectors_by_hand():
    assert mcdiarmid_error(10_000, 0.001) == pytest.approx(0.0472, abs=5e-5)
    assert vector_error(0.95, 10_000, 0.001) == pytest.approx(0.0143, abs=5e-5)
    # Shorter than the error itself: nothing is known of E h, V = 1, and n e^2 = 2 L (1 + 2 e / 3).
    n, tail = 20, np.log(2 / 0.1)
    error = vector_error(0.2, n, 0.1)
    assert error > 0.2
    assert n * error**2 == pytest.approx(2 * tail * (1 + 2 * error / 3))


@pytest.mark.parametrize("length", [0.0, 0.1, 0.3, 0.6, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("n", [3, 100, 100_000])
def test_the_error_of_a_vector_is_the_largest_fixed_point(length, n):
    tail = np.log(2 / 0.01)

    def by_variance(error):
        variance = 1 - max(length - error, 0) ** 2
        return (2 * tail / 3 + np.sqrt(4 * tail**2 / 9 + 2 * n * tail * variance)) / n

    # From above, where the iteration falls to the largest.
    error = by_variance(np.inf)
    for _ in range(2000):
        error = by_variance(error)
    assert vector_error(length, n, 0.01) == pytest.approx(error, rel=1e-9)


@pytest.mark.parametrize("n", [2, 10, 60, 400])
def test_empirical_bernstein_holds_for_all_two_valued_variables(n):
    def holds(k, q):
        return empirical_bernstein(k / n, k * (n - k) / (n * (n - 1)), n, 1.0, ALPHA) >= q

    assert misses(n, holds).max() <= ALPHA


def test_empirical_bernstein_over_repetitions_and_by_hand():
    rng = np.random.default_rng(2)
    n = 300
    draws = rng.uniform(-1, 1, (4000, n))
    bounds = empirical_bernstein(draws.mean(axis=1), draws.var(axis=1, ddof=1), n, 2.0, ALPHA)
    assert (bounds < 0).mean() <= ALPHA
    assert bounds.mean() < 5 * np.quantile(-draws.mean(axis=1), 1 - ALPHA)
    tail = np.log(2 / 0.01)
    by_hand = [0.2 + np.sqrt(0.08 * tail / 50) + 14 * tail / 147, -0.3 + 7 * tail / 147]
    found = empirical_bernstein(np.array([0.2, -0.3]), np.array([0.04, 0.0]), 50, np.array([2.0, 1.0]), 0.01)
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)
    assert (found >= by_hand).all()


@pytest.mark.parametrize("n", [1, 13, 200])
def test_clopper_pearson_holds_for_all_shares_and_nearly_reaches_alpha(n):
    counts = np.arange(n + 1)[:, None]
    upper, lower = clopper_pearson_upper(counts, n, ALPHA), clopper_pearson_lower(counts, n, ALPHA)
    missed = misses(n, lambda k, q: upper >= q), misses(n, lambda k, q: lower <= q)
    assert max(one.max() for one in missed) <= ALPHA
    if n == 200:
        assert min(one.max() for one in missed) > 0.9 * ALPHA


def test_clopper_pearson_are_quantiles_of_the_beta_distribution_and_mirror_each_other():
    counts = np.array([[0, 1, 17], [17, 99, 100]])
    with np.errstate(invalid="ignore"):
        expected = np.where(counts < 100, beta.isf(0.01, counts + 1, 100 - counts), 1)
    upper = clopper_pearson_upper(counts, 100, 0.01)
    np.testing.assert_allclose(upper, expected, rtol=1e-11)
    np.testing.assert_allclose(clopper_pearson_lower(100 - counts, 100, 0.01), 1 - upper, rtol=1e-9, atol=1e-12)
    assert clopper_pearson_upper(np.array([100]), 100, 0.01) == [1]
    assert clopper_pearson_lower(np.array([0]), 100, 0.01) == [0]
    # Shares of alpha that 1 - alpha would round away.
    assert clopper_pearson_upper(np.array(0), 1000, 1e-20) == pytest.approx(-np.expm1(np.log(1e-20) / 1000))


def test_bad_arguments_are_named():
    for call, words in (
        (lambda: mcdiarmid_error(0, 0.1), "n >= 1"),
        (lambda: vector_error(0.5, 10, 0.0), "alpha=0.0"),
        (lambda: vector_error(float("nan"), 10, 0.1), "mean_norm is nan"),
        (lambda: empirical_bernstein(np.zeros(1), np.zeros(1), 1, 1.0, 0.1), "n >= 2"),
        (lambda: clopper_pearson_upper(np.array([11]), 10, 0.1), "from 11 to 11; allowed: 0 to 10"),
        (lambda: clopper_pearson_lower(np.array([-1]), 10, 0.1), "from -1 to -1"),
    ):
        with pytest.raises(InputError, match=words):
            call()
