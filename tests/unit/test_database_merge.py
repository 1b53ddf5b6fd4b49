"""Merged neighbour lists against a sort of the whole database."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import InputError
from nndefense.database.merge import merge_neighbors


def nearest(distances, ids, k):
    """Brute force: (distance, id) ascending, k places, padded with -1 and inf."""
    rows = []
    for row in distances:
        best = sorted(zip(row.tolist(), ids.tolist(), strict=True))[:k]
        rows.append(best + [(np.inf, -1)] * (k - len(best)))
    table = np.array(rows, dtype=np.float64).reshape(len(distances), k, 2)
    return table[..., 1].astype(np.int64), table[..., 0].astype(np.float32)


@st.composite
def databases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    k = draw(st.integers(1, 9))
    # Few distinct distances, so that ties across shards are common.
    distances = rng.integers(0, 4, size=(3, sum(sizes))).astype(np.float32)
    return rng, np.cumsum([0, *sizes]), distances, k


@settings(max_examples=80, deadline=None)
@given(databases())
def test_merging_in_any_order_equals_brute_force_over_the_union(database):
    rng, edges, distances, k = database
    ids = np.arange(edges[-1])
    lists = [nearest(distances[:, a:b], ids[a:b], k) for a, b in pairwise(edges)]
    expected_ids, expected_distances = nearest(distances, ids, k)
    shuffled = [lists[i] for i in rng.permutation(len(lists))]
    for merged in (
        merge_neighbors(lists, k),
        merge_neighbors(shuffled, k),
    ):
        np.testing.assert_array_equal(merged[0], expected_ids)
        np.testing.assert_array_equal(merged[1], expected_distances)


def test_missing_places_come_last_whatever_their_distance():
    ids = np.array([[-1, 7, 3]])
    distances = np.array([[0.0, 5.0, np.nan]], dtype=np.float32)
    merged_ids, merged_distances = merge_neighbors([(ids, distances)], 4)
    assert merged_ids.tolist() == [[7, -1, -1, -1]]
    assert merged_distances.tolist() == [[5.0, np.inf, np.inf, np.inf]]
    assert merged_ids.dtype == np.int64
    assert merged_distances.dtype == np.float32


def test_lists_that_do_not_fit_are_refused():
    one = (np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match="at least one"):
        merge_neighbors([], 3)
    with pytest.raises(InputError, match="same queries"):
        merge_neighbors([one, (one[0][:1], one[1][:1])], 3)
    with pytest.raises(InputError, match="same shape"):
        merge_neighbors([(one[0], one[1][:, :2])], 3)
