"""Parts of retrieval-augmented networks: points of the simplex, attention, memory."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from nndefense.core.errors import InputError
from nndefense.models.attention import BilinearAttention, convex_sum
from nndefense.models.memory import Memory, exact_nearest
from nndefense.models.racnn_training import lsh_quality
from nndefense.models.simplex import uniform_simplex

# -- simplex


@pytest.mark.parametrize("size", [2, 5, 10])
def test_simplex_is_uniform_and_normalised_uniform_numbers_are_not(size):
    generator = torch.Generator().manual_seed(0)
    points = uniform_simplex(5000, size, generator)
    assert points.shape == (5000, size)
    torch.testing.assert_close(points.sum(1), torch.ones(5000))
    assert (points >= 0).all()
    marginal = stats.beta(1, size - 1).cdf
    assert all(stats.kstest(points[:, place], marginal).pvalue > 1e-3 for place in range(size))
    ratio = torch.rand(5000, size, generator=generator)
    ratio /= ratio.sum(1, keepdim=True)
    assert stats.kstest(ratio[:, 0], marginal).pvalue < 1e-6


def test_simplex_variance_and_its_corner():
    points = uniform_simplex(40000, 5, torch.Generator().manual_seed(1)).double()
    assert points.var(0).mean() == pytest.approx(4 / (25 * 6), rel=0.03)
    assert torch.equal(uniform_simplex(3, 1, torch.Generator()), torch.ones(3, 1))
    with pytest.raises(InputError, match="0 corners"):
        uniform_simplex(3, 0, torch.Generator())


# -- attention


def test_attention_equals_loops_over_the_full_matrix():
    generator = torch.Generator().manual_seed(0)
    features, neighbors = torch.randn(3, 5, generator=generator), torch.randn(3, 4, 5, generator=generator)
    attention = BilinearAttention(5)
    nn.init.normal_(attention.weight, generator=generator)
    with torch.no_grad():
        weights = attention(features, neighbors)
        for image in range(3):
            scores = [
                sum(
                    features[image, i] * attention.weight[i, j] * neighbors[image, n, j]
                    for i in range(5)
                    for j in range(5)
                )
                for n in range(4)
            ]
            torch.testing.assert_close(weights[image], torch.stack(scores).softmax(0))
        # What reads the diagonal only gives other weights.
        diagonal = torch.einsum("bd,dd,bnd->bn", features, attention.weight, neighbors).softmax(1)
    assert (weights - diagonal).abs().max() > 0.1


def test_zero_matrix_gives_the_mean_of_the_neighbors():
    attention = BilinearAttention(8)
    nn.init.zeros_(attention.weight)
    neighbors = torch.randn(2, 4, 8)
    weights = attention(torch.randn(2, 8), neighbors)
    assert torch.equal(weights, torch.full((2, 4), 0.25))
    torch.testing.assert_close(convex_sum(weights, neighbors), neighbors.mean(1))


# -- memory


def test_exact_search_orders_by_distance_then_row():
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(-1, 2, (80, 2), generator=generator).float()
    queries = torch.randint(-1, 2, (30, 2), generator=generator).float()
    for count in (1, 7, 80):
        found = exact_nearest(keys, queries, count)
        for query, rows in zip(queries, found, strict=True):
            distances = ((keys - query) ** 2).sum(1).tolist()
            assert rows.tolist() == sorted(range(80), key=lambda row, d=distances: (d[row], row))[:count]


def test_exact_search_in_blocks_and_of_nan(monkeypatch):
    keys, queries = torch.randn(50, 4), torch.randn(20, 4)
    whole = exact_nearest(keys, queries, 3)
    monkeypatch.setattr("nndefense.models.memory.DISTANCES", 350)
    assert torch.equal(exact_nearest(keys, queries, 3), whole)
    queries[3] = torch.nan
    kept = torch.arange(20) != 3
    assert torch.equal(exact_nearest(keys, queries, 3)[kept], whole[kept])


def test_hashed_search_with_many_tables_is_exact_and_is_rebuilt_when_loaded():
    keys, queries = torch.randn(200, 6), torch.randn(40, 6)
    exact = Memory(200, 6, 6)
    hashed = Memory(200, 6, 6, engine="lsh", hashes=2, tables=200, width=4.0)
    for memory in (exact, hashed):
        memory.fill(keys, keys, torch.zeros(200, dtype=torch.int64))
    assert torch.equal(hashed.nearest(queries, 5), exact.nearest(queries, 5))
    assert lsh_quality(hashed, queries, 5)["recall"] == 1
    hashed.load_state_dict({**hashed.state_dict(), "keys": keys.flip(0)})
    assert torch.equal(hashed.nearest(queries, 5), 199 - exact.nearest(queries, 5))
    assert hashed.nearest(queries * torch.nan, 5).shape == (40, 5)


def test_hashed_search_with_few_tables_says_how_much_it_misses():
    keys, queries = torch.randn(300, 12), torch.randn(60, 12)
    memory = Memory(300, 12, 12, engine="lsh", hashes=2, tables=2, width=3.0)
    memory.fill(keys, keys, torch.zeros(300, dtype=torch.int64))
    quality = lsh_quality(memory, queries, 5)
    nearest = exact_nearest(keys, queries, 5)
    found = memory.nearest(queries, 5)
    shared = [len(set(a) & set(b)) / 5 for a, b in zip(found.tolist(), nearest.tolist(), strict=True)]
    assert quality["recall"] == pytest.approx(np.mean(shared))
    assert 0.2 < quality["recall"] < 1
    assert 5 < quality["candidates"] < 300
