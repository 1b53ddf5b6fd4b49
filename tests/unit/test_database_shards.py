"""The ladder of nested database sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndefense.axes.shards import parse_shard_name, permute_pool, shard_name, shard_ranges
from nndefense.core.errors import ConfigError, InputError

ladders = st.lists(st.integers(1, 10**9), min_size=1, max_size=9, unique=True).map(sorted)


def test_example():
    assert shard_ranges((500, 1000, 2000)) == [(0, 500), (500, 1000), (1000, 2000)]
    assert shard_name((500, 1000)) == "500-1000"


@given(ladders)
def test_every_size_is_a_prefix_of_shards(sizes):
    for size in sizes:
        shards = [shard for shard in shard_ranges(sizes) if shard[1] <= size]
        assert sum(stop - start for start, stop in shards) == size


@given(ladders, st.integers(1, 10**9))
def test_a_larger_size_adds_a_shard_and_changes_none(sizes, more):
    assert shard_ranges([*sizes, sizes[-1] + more])[:-1] == shard_ranges(sizes)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_names_round_trip(start, length):
    assert parse_shard_name(shard_name((start, start + length))) == (start, start + length)


@pytest.mark.parametrize("sizes", [[], [0], [5, 5], [10, 5], [1.5], [True], ["5"]])
def test_bad_ladders_are_refused(sizes):
    with pytest.raises(ConfigError, match="strictly ascending"):
        shard_ranges(sizes)


@pytest.mark.parametrize("name", ["", "5", "5-5", "9-5", "-5-9", "05-9", "a-b", "1-2-3", "5-9 "])
def test_bad_names_are_refused(name):
    with pytest.raises(InputError, match="shard name"):
        parse_shard_name(name)


def test_permutation_is_seeded_and_complete():
    rows = np.arange(100, 200)
    permuted = permute_pool(rows, 7)
    np.testing.assert_array_equal(permuted, permute_pool(rows, 7))
    np.testing.assert_array_equal(np.sort(permuted), rows)
    assert (permuted != permute_pool(rows, 8)).any()
    assert (permuted != rows).any()
