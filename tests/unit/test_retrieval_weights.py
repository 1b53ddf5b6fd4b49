"""Confidence weights against closed forms (Dubey et al. 2019, §4)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndefense.core.errors import ConfigError
from nndefense.retrieval import WEIGHTINGS
from nndefense.retrieval.weights import (
    cbw_d,
    cbw_e,
    stored_weights,
    uniform,
    weight_columns,
    weighting_function,
)


def one_hot(classes, hot=0):
    return np.eye(classes)[hot]


@pytest.mark.parametrize("classes", [2, 10, 21, 1000])
def test_uniform_rows_have_no_confidence(classes):
    row = np.full(classes, 1 / classes)
    assert cbw_e(row) == pytest.approx(0, abs=1e-6)
    assert cbw_d(row) == 0


@pytest.mark.parametrize("classes", [2, 10, 21, 1000])
def test_one_hot_rows_have_the_maximum(classes):
    assert cbw_e(one_hot(classes)) == pytest.approx(np.log(classes), rel=1e-6)
    assert cbw_d(one_hot(classes, classes - 1)) == min(20, classes - 1)


def test_half_and_the_rest_equal():
    row = np.full(1000, 0.5 / 999)
    row[3] = 0.5
    assert cbw_d(row) == pytest.approx(20 * (0.5 - 0.5 / 999) ** 3, rel=1e-6)
    assert cbw_d(row) == pytest.approx(2.4925, abs=1e-4)
    assert cbw_e(row) == pytest.approx(2.76123, abs=1e-5)


@pytest.mark.parametrize("classes", [21, 40, 1000])
def test_two_classes_share_the_mass(classes):
    row = np.zeros(classes)
    row[[5, 1]] = 0.6, 0.4
    assert cbw_d(row) == pytest.approx(0.2**3 + 19 * 0.6**3, rel=1e-6)
    assert cbw_d(row) == pytest.approx(4.112, abs=1e-6)


def test_cbw_d_counts_only_the_m_next_classes():
    row = np.array([0.5, 0.3, 0.15, 0.05])
    assert cbw_d(row, m=1, p=1) == pytest.approx(0.2)
    assert cbw_d(row, m=2, p=2) == pytest.approx(0.2**2 + 0.35**2)
    assert cbw_d(row, m=99, p=1) == pytest.approx(0.2 + 0.35 + 0.45)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=30), st.randoms())
def test_weights_lie_in_their_range_and_ignore_the_order_of_classes(logits, random):
    row = np.exp(np.array(logits) - max(logits))
    row /= row.sum()
    shuffled = row.copy()
    random.shuffle(shuffled)
    assert 0 <= cbw_e(row) <= np.log(len(row)) * (1 + 1e-6)
    assert 0 <= cbw_d(row) <= min(20, len(row) - 1)
    assert cbw_d(shuffled) == pytest.approx(cbw_d(row), rel=1e-6)
    assert cbw_e(shuffled) == pytest.approx(cbw_e(row), rel=1e-6, abs=1e-6)


def test_stored_weights_hold_one_column_per_registered_weighting():
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.3), size=7).astype(np.float32)
    weights = stored_weights(rows)
    assert weight_columns() == ("CBW-E", "CBW-D")
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.stack([cbw_e(rows), cbw_d(rows)], axis=1))
    np.testing.assert_array_equal(uniform(rows), np.ones(7))
    assert all(callable(weighting_function(name)) for name in WEIGHTINGS)


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match=r"CBW-X.*allowed: UW, CBW-E, CBW-D"):
        weighting_function("CBW-X")
    with pytest.raises(ConfigError, match="m=0"):
        cbw_d(one_hot(3), m=0)
