"""A permutation as a function: a bijection for every number of rows, and an order that looks random."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from nndefense.core.errors import InputError
from nndefense.images.permutation import MAX_ROWS, Permutation


def order(rows: int, seed: int) -> np.ndarray:
    return Permutation(rows, seed).rows_at(np.arange(rows))


@pytest.mark.parametrize("rows", [*range(1, 131), 255, 256, 257, 1000, 4097, 65_537])
def test_it_is_a_bijection_and_its_inverse_is_one(rows):
    for seed in (0, 1, -5, 2**70):
        permutation = Permutation(rows, seed)
        found = permutation.rows_at(np.arange(rows))
        assert found.dtype == np.int64
        assert np.array_equal(np.sort(found), np.arange(rows))
        assert np.array_equal(permutation.places_of(found), np.arange(rows))
        assert np.array_equal(found[permutation.places_of(np.arange(rows))], np.arange(rows))


@pytest.mark.parametrize("rows", [10**9, 10**9 + 7, 2**31, 2**40 + 1, MAX_ROWS])
def test_a_billion_rows_cost_only_those_that_are_asked_for(rows):
    permutation = Permutation(rows, 3)
    places = np.unique(
        np.concatenate([np.arange(200_000), rows - 1 - np.arange(1000), np.arange(0, rows, rows // 9999)])
    )
    found = permutation.rows_at(places)
    assert 0 <= found.min() <= found.max() < rows
    assert len(np.unique(found)) == len(places)
    assert np.array_equal(permutation.places_of(found), places)


def test_an_order_does_not_depend_on_what_is_asked_together():
    permutation = Permutation(12_345, 8)
    whole = permutation.rows_at(np.arange(12_345))
    parts = [permutation.rows_at(np.arange(a, b, dtype=np.uint16)) for a, b in pairwise([0, 1, 500, 12_000, 12_345])]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(permutation.rows_at(np.array([77, 3, 77])), whole[[77, 3, 77]])
    assert permutation.rows_at(np.array([], dtype=np.int64)).shape == (0,)


def test_an_order_is_what_it_was():
    """Results of old runs stay readable: the order belongs to the number of rows and the seed for ever."""
    assert order(12, 1).tolist() == [9, 4, 5, 11, 1, 0, 2, 10, 6, 8, 7, 3]
    assert Permutation(10**9, 1).rows_at(np.arange(4)).tolist() == [927344955, 879362380, 431998442, 276753351]


@pytest.mark.parametrize("rows", [100, 1000, 1500])
def test_every_row_comes_equally_often_to_every_part(rows):
    """Chi-squared over seeds: which tenth of the rows stands in which tenth of the places."""
    seeds, tenth = 300, rows // 10
    counts = np.zeros((10, 10))
    for seed in range(seeds):
        np.add.at(counts, (np.arange(rows) // tenth, order(rows, seed) // tenth), 1)
    expected = seeds * tenth / 10
    # Of a random permutation, the sum has 81 degrees of freedom and the factor (rows - 1) / rows.
    statistic = ((counts - expected) ** 2 / expected).sum() * (rows - 1) / rows
    assert 1e-4 < stats.chi2.sf(statistic, 81) < 1 - 1e-4


def test_neighbours_are_independent():
    found = order(20_000, 5)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 4 / np.sqrt(20_000)
    assert abs(np.corrcoef(found, np.arange(20_000))[0, 1]) < 4 / np.sqrt(20_000)
    assert 0 < (np.diff(found) == 1).sum() < 12 or (np.diff(found) == 1).sum() == 0
    assert (found == np.arange(20_000)).sum() < 12
    # Low bits, too, are mixed.
    assert abs((found[:10_000] % 2).mean() - 0.5) < 4 * 0.5 / 100


def test_a_prefix_is_a_sample_of_all_rows():
    shares = [(Permutation(10**9, seed).rows_at(np.arange(1000)) < 3 * 10**8).sum() for seed in range(200)]
    assert (
        stats.kstest(shares + np.random.default_rng(0).random(200) - 0.5, stats.norm(300, np.sqrt(210)).cdf).pvalue
        > 1e-3
    )


def test_other_seeds_give_other_orders():
    first = [tuple(Permutation(10**6, seed).rows_at(np.arange(5)).tolist()) for seed in range(500)]
    assert len(set(first)) == 500
    assert len({tuple(order(5, seed).tolist()) for seed in range(200)}) > 20


@pytest.mark.parametrize("rows", [0, -1, MAX_ROWS + 1])
def test_rows_out_of_range_are_named(rows):
    with pytest.raises(InputError, match=rf"rows in 1 .. {MAX_ROWS}, got {rows}"):
        Permutation(rows, 1)


@pytest.mark.parametrize("places", [[-1], [10], [0.5], [True]])
def test_places_out_of_range_are_refused(places):
    with pytest.raises(InputError, match=r"integers in 0 \.\. 9"):
        Permutation(10, 1).rows_at(np.array(places))
    with pytest.raises(InputError, match=r"integers in 0 \.\. 9"):
        Permutation(10, 1).places_of(np.array(places))
