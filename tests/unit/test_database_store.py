"""The softmax store against plain indexing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import FileFault, InputError
from nndefense.database.softmax_store import ShardRows, SoftmaxStore, to_half


def rows_and_weights(n, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), size=n).astype(np.float16), rng.random((n, 2)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_take_equals_indexing(seed):
    rng = np.random.default_rng(seed)
    softmax, weights = rows_and_weights(30)
    edges = np.array([0, *sorted(rng.choice(np.arange(1, 30), size=3, replace=False)), 30])
    parts = [(a, b, softmax[a:b], weights[a:b]) for a, b in pairwise(edges)]
    store = SoftmaxStore([parts[i] for i in rng.permutation(4)])
    ids = rng.integers(-1, 30, size=(4, 6))
    taken, taken_weights, valid = store.take(ids)
    np.testing.assert_array_equal(valid, ids >= 0)
    np.testing.assert_array_equal(taken, np.where(valid[..., None], softmax[ids].astype(np.float32), 0))
    np.testing.assert_array_equal(taken_weights, np.where(valid[..., None], weights[ids], 0))
    assert taken.dtype == taken_weights.dtype == np.float32


def test_memory_maps_and_missing_neighbours(tmp_path):
    softmax, weights = rows_and_weights(8)
    np.save(tmp_path / "softmax.npy", softmax)
    mapped = np.load(tmp_path / "softmax.npy", mmap_mode="r", allow_pickle=False)
    store = SoftmaxStore([(100, 108, mapped, weights)])
    taken, taken_weights, valid = store.take(np.array([-1, -1]))
    assert not taken.any()
    assert not taken_weights.any()
    assert not valid.any()
    np.testing.assert_array_equal(store.take(np.array(107))[0], softmax[7].astype(np.float32))


@pytest.mark.parametrize("bad", [-2, 10, 19, 30, 99])
def test_ids_outside_of_the_store_are_refused(bad):
    softmax, weights = rows_and_weights(10)
    store = SoftmaxStore([(0, 10, softmax, weights), (20, 30, softmax, weights)])
    with pytest.raises(FileFault, match=f"id {bad} "):
        store.take(np.array([3, bad, 25]))


def test_shards_that_do_not_fit_are_refused():
    softmax, weights = rows_and_weights(10)
    with pytest.raises(FileFault, match="expected"):
        SoftmaxStore([(0, 11, softmax, weights)])
    with pytest.raises(FileFault, match="overlaps"):
        SoftmaxStore([(0, 10, softmax, weights), (9, 19, softmax, weights)])
    with pytest.raises(FileFault, match="5-15"):
        SoftmaxStore([(-5, 5, softmax, weights), (5, 15, softmax[:, :4], weights)][1:] * 2)
    with pytest.raises(FileFault, match="no shards"):
        SoftmaxStore([])


def test_half_precision_where_it_keeps_the_sum():
    softmax = np.random.default_rng(0).dirichlet(np.full(1000, 0.01), size=50).astype(np.float32)
    half = to_half(softmax)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.sum(axis=1, dtype=np.float64), 1, atol=1e-3)


def test_full_precision_where_half_loses_mass():
    # float16 has steps of 6e-8 down there, so a million rounded shares of 1e-6 miss the sum.
    softmax = np.full((1, 1_000_000), 1e-6, dtype=np.float32)
    assert abs(softmax.astype(np.float16).sum(dtype=np.float64) - 1) > 1e-3
    assert to_half(softmax) is softmax


@pytest.mark.parametrize("bad", [np.nan, -0.5, 0.9])
def test_rows_that_are_no_distribution_are_refused(bad):
    softmax = np.array([[1.0, 0.0], [bad, 0.5]], dtype=np.float32)
    with pytest.raises(InputError, match="1 softmax rows are no distribution, the first is row 1"):
        to_half(softmax)


def test_codes_of_either_kind_by_their_ids():
    rng = np.random.default_rng(0)
    for codes in (rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 256, (30, 3), dtype=np.uint8)):
        rows = ShardRows([(20, 30, codes[20:]), (0, 12, codes[:12])])
        assert rows.rows == 22
        (found,) = rows.rows_of(np.array([[25, 3], [-1, 11]]))
        assert found.dtype == codes.dtype
        np.testing.assert_array_equal(found, [[codes[25], codes[3]], [np.zeros_like(codes[0]), codes[11]]])
        with pytest.raises(FileFault, match="id 15 is not in the code store"):
            rows.rows_of(np.array([15]))
