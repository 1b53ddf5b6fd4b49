"""Intervals against SciPy, rows against their contract, the bootstrap against plain resampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from nndefense.errors import InputError
from nndefense.retrieval.accuracy import AXES, COLUMNS, accuracy_row, wilson_interval
from nndefense.retrieval.bootstrap import paired_bootstrap


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_equals_scipy(n, share, level):
    correct = round(share * n)
    expected = binomtest(correct, n).proportion_ci(confidence_level=level, method="wilson")
    assert wilson_interval(correct, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_impossible_counts(correct, n):
    with pytest.raises(InputError):
        wilson_interval(correct, n)


def test_a_row_has_exactly_the_columns():
    axes = {axis: f"<{axis}>" for axis in AXES}
    row = accuracy_row([1, 2, -1, 0], [1, 2, -1, 1], [0.0, 0.1, 0.2, 0.1], **axes)
    assert tuple(row) == COLUMNS
    assert len(COLUMNS) == 20
    assert row["accuracy"] == 0.5
    assert row["n"] == 4
    assert row["delta_mean"] == pytest.approx(0.1)
    assert row["delta_max"] == 0.2
    assert (row["ci_low"], row["ci_high"]) == wilson_interval(2, 4)
    assert row["dataset"] == "<dataset>"


def test_a_row_refuses_wrong_axes_and_lengths():
    axes = dict.fromkeys(AXES, "x")
    with pytest.raises(InputError, match="unknown axes \\['layer'\\]"):
        accuracy_row([1], [1], layer="x", **axes)
    with pytest.raises(InputError, match="missing axes \\['seed'\\]"):
        accuracy_row([1], [1], **{k: v for k, v in axes.items() if k != "seed"})
    with pytest.raises(InputError, match="arrays"):
        accuracy_row([1, 2], [1], **axes)
    with pytest.raises(InputError, match="NaN"):
        accuracy_row([1], [1], [np.nan], **axes)


def test_bootstrap_equals_resampled_indices():
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.7, rng.random(200) < 0.6
    draws = rng.integers(0, 200, size=(20000, 200))
    plain = (a[draws].mean(axis=1) - b[draws].mean(axis=1)).astype(float)
    difference, low, high = paired_bootstrap(a, b, seed=1, resamples=20000)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.011)


def test_bootstrap_is_seeded_and_antisymmetric():
    rng = np.random.default_rng(5)
    a, b = rng.random(80) < 0.5, rng.random(80) < 0.5
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3)
    assert paired_bootstrap(a, b, seed=3)[0] == -paired_bootstrap(b, a, seed=3)[0]
    assert paired_bootstrap(a, a, seed=3) == (0, 0, 0)
    with pytest.raises(InputError):
        paired_bootstrap(a, b[:-1], seed=3)
