"""Votes against a loop that follows the paper's formula, and against cases solved by hand."""

import subprocess
import sys
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import ConfigError, InputError
from nndefense.retrieval.votes import COMBINATIONS, count_fallbacks, vote, vote_all, vote_neighbors
from nndefense.retrieval.weights import stored_weights

WEIGHTINGS = ("UW", "CBW-E", "CBW-D")


def half_rows(rng, *shape):
    return rng.dirichlet(np.full(shape[-1], 0.4), size=shape[:-1]).astype(np.float16).astype(np.float32)


def by_formula(softmax, weights, combination):
    """One query in exact rational arithmetic; ties to the smallest class."""
    scores = [Fraction(0)] * softmax.shape[1]
    weights = [Fraction(float(w)) for w in weights]
    if not any(weights):
        weights = [Fraction(1)] * len(weights)
    for row, weight in zip(softmax, weights, strict=True):
        if combination == "hard":
            scores[int(np.argmax(row))] += weight
        else:
            scores = [score + weight * Fraction(float(p)) for score, p in zip(scores, row, strict=True)]
    return scores.index(max(scores))


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_vote_follows_the_formula(combination):
    rng = np.random.default_rng(1)
    softmax = half_rows(rng, 40, 7, 5)
    weights = rng.random((40, 7)).astype(np.float32)
    weights[3] = 0
    expected = [by_formula(s, w, combination) for s, w in zip(softmax, weights, strict=True)]
    np.testing.assert_array_equal(vote(softmax, weights, combination), expected)


def test_soft_and_hard_can_differ():
    softmax = np.array([[[0.9, 0.1], [0.45, 0.55], [0.45, 0.55]]])
    weights = np.ones((1, 3))
    assert vote(softmax, weights, "soft").tolist() == [0]
    assert vote(softmax, weights, "hard").tolist() == [1]
    assert vote(softmax, np.array([[5.0, 1, 1]]), "hard").tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9), st.integers(1, 4))
def test_vote_all_equals_single_votes(seed, classes, places, queries):
    rng = np.random.default_rng(seed)
    softmax = half_rows(rng, queries, places, max(classes, 2))
    cbw = np.stack([stored_weights(block) for block in softmax])
    valid = rng.random((queries, places)) < 0.8
    neighbors = sorted({int(k) for k in rng.integers(1, places + 1, size=3)})
    votes = vote_all(
        softmax,
        cbw,
        valid,
        neighbors=neighbors,
        weightings=WEIGHTINGS,
        combinations=COMBINATIONS,
        block_bytes=int(rng.integers(1, 2000)),
    )
    assert len(votes) == len(neighbors) * 6
    for (k, weighting, combination), predictions in votes.items():
        weights = {"UW": np.ones_like(cbw[..., 0]), "CBW-E": cbw[..., 0], "CBW-D": cbw[..., 1]}[weighting]
        for query, prediction in enumerate(predictions):
            keep = np.flatnonzero(valid[query, :k])
            expected = by_formula(softmax[query, keep], weights[query, keep], combination) if keep.size else -1
            assert prediction == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_neighbours_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    # Few distinct rows, so that exact ties occur.
    softmax = half_rows(rng, 3, 4)[rng.integers(0, 3, size=(5, 12))]
    order = rng.permutation(12)
    weights = np.ones((5, 12))
    for combination in COMBINATIONS:
        np.testing.assert_array_equal(
            vote(softmax, weights, combination), vote(softmax[:, order], weights[:, order], combination)
        )


def test_one_neighbour_makes_all_cells_agree():
    rng = np.random.default_rng(2)
    softmax = half_rows(rng, 30, 4, 10)
    cbw = np.stack([stored_weights(block) for block in softmax])
    votes = vote_all(
        softmax, cbw, np.ones((30, 4), bool), neighbors=[1], weightings=WEIGHTINGS, combinations=COMBINATIONS
    )
    for predictions in votes.values():
        np.testing.assert_array_equal(predictions, softmax[:, 0].argmax(axis=1))


def test_all_neighbours_with_uniform_weights_give_the_mean_softmax():
    rng = np.random.default_rng(3)
    softmax = half_rows(rng, 20, 50, 10)
    expected = softmax.astype(np.float64).mean(axis=1).argmax(axis=1)
    np.testing.assert_array_equal(vote(softmax, np.full((20, 50), 1 / 50)), expected)


def test_ties_go_to_the_smallest_class():
    softmax = np.array([[[0.0, 0.25, 0.75], [0.0, 0.75, 0.25]]])
    for combination in COMBINATIONS:
        assert vote(softmax, np.ones((1, 2)), combination).tolist() == [1]


def test_zero_weights_fall_back_to_uniform_and_are_counted():
    uniform, sure = np.full(4, 0.25), np.array([0.1, 0.7, 0.1, 0.1])
    softmax = np.array([[uniform, uniform], [uniform, sure], [sure, sure]], dtype=np.float32)
    cbw = np.stack([stored_weights(block) for block in softmax])
    valid = np.array([[True, True], [True, True], [False, False]])
    axes = {"neighbors": [1, 2], "weightings": WEIGHTINGS}
    votes = vote_all(softmax, cbw, valid, combinations=["soft"], **axes)
    assert votes[1, "CBW-D", "soft"].tolist() == [0, 0, -1]
    assert votes[2, "CBW-D", "soft"].tolist() == [0, 1, -1]
    counts = count_fallbacks(cbw, valid, **axes)
    assert counts[1, "CBW-D"] == 2
    assert counts[2, "CBW-D"] == 1
    assert counts[2, "UW"] == 0


def test_rows_that_are_not_valid_are_never_read():
    softmax = np.array([[[0.4, 0.6], [np.nan, np.nan]]])
    valid = np.array([[True, False]])
    assert vote(softmax, np.array([[0.5, 9.0]]), "soft", valid).tolist() == [1]
    assert vote(softmax, np.array([[0.5, 9.0]]), "hard", valid).tolist() == [1]


@pytest.mark.parametrize("queries", [0, 1, 23])
def test_votes_by_id_equal_votes_by_row(queries):
    rng = np.random.default_rng(4)
    rows = half_rows(rng, 60, 6)
    weights = stored_weights(rows)
    ids = rng.integers(0, 60, size=(queries, 9))

    def take(block):
        return rows[block], weights[block], np.ones(block.shape, bool)

    axes = {"neighbors": [2, 5], "weightings": WEIGHTINGS, "combinations": COMBINATIONS}
    votes, fallbacks = vote_neighbors(take, ids, classes=6, block_bytes=700, **axes)
    expected = vote_all(*take(ids), **axes)
    assert votes.keys() == expected.keys()
    for key, predictions in votes.items():
        np.testing.assert_array_equal(predictions, expected[key])
    assert set(fallbacks.values()) == {0}


def rounded_ties(rng, queries, pairs, classes):
    """Rows and weights whose votes for two classes are equal but for rounding, which the order of sums decides."""
    softmax = rng.random((queries, pairs, classes)) * 0.3
    softmax[:, :, 1:3] += 0.5
    swapped = softmax.copy()
    swapped[:, :, [1, 2]] = softmax[:, :, [2, 1]]
    weights = rng.random((queries, pairs, 2)) + 0.1
    order = rng.permutation(2 * pairs)
    return np.concatenate([softmax, swapped], axis=1)[:, order], np.concatenate([weights, weights], axis=1)[:, order]


@pytest.mark.parametrize("classes", [3, 40])
def test_votes_are_the_same_to_the_last_bit_for_any_block(classes):
    softmax, cbw = rounded_ties(np.random.default_rng(5), 60, 20, classes)
    ids = np.arange(60 * 40).reshape(60, 40)
    rows, weights = softmax.reshape(-1, classes), cbw.reshape(-1, 2)

    def take(block):
        return rows[block], weights[block], np.ones(block.shape, bool)

    axes = {"neighbors": [3, 17, 40], "weightings": WEIGHTINGS, "combinations": COMBINATIONS}
    singly = [vote_all(*take(ids[query : query + 1]), **axes) for query in range(60)]
    expected = {key: np.concatenate([one[key] for one in singly]) for key in singly[0]}
    # Rounding decides both ways, so that sums in another order would be seen.
    assert 10 < (expected[40, "CBW-E", "soft"] == 2).sum() < 50
    for size in (1, 50_000, 100_000, 1 << 22, 1 << 30):
        for votes in (
            vote_all(*take(ids), **axes, block_bytes=size),
            vote_neighbors(take, ids, classes=classes, **axes, block_bytes=size)[0],
        ):
            assert votes.keys() == expected.keys()
            for key, predictions in votes.items():
                np.testing.assert_array_equal(predictions, expected[key])


def test_memory_does_not_follow_the_queries():
    rows = np.full((10, 1000), 1e-3, dtype=np.float32)
    weights = stored_weights(rows)

    def take(block):
        return rows[block], weights[block], np.ones(block.shape, bool)

    axes = {"neighbors": [1, 100], "weightings": WEIGHTINGS, "combinations": COMBINATIONS}
    tracemalloc.start()
    vote_neighbors(take, np.zeros((300, 100), dtype=np.int64), classes=1000, **axes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


def test_bad_arguments_are_named():
    softmax, cbw, valid = np.full((1, 2, 2), 0.5), np.ones((1, 2, 2)), np.ones((1, 2), bool)
    good = {"neighbors": [1], "weightings": ["UW"], "combinations": ["soft"]}
    for key, value, error, words in (
        ("weightings", ["CBW"], ConfigError, "weighting 'CBW'"),
        ("combinations", ["mean"], ConfigError, "combination 'mean'"),
        ("neighbors", [0], ConfigError, r"neighbors are \[0\]"),
        ("neighbors", [3], InputError, "neighbors 3 exceeds the 2 places"),
    ):
        with pytest.raises(error, match=words):
            vote_all(softmax, cbw, valid, **{**good, key: value})
    with pytest.raises(InputError, match="expected"):
        vote_all(softmax, np.ones((1, 2, 3)), valid, **good)
    with pytest.raises(InputError, match="finite"):
        vote(softmax, np.array([[np.nan, 1]]))


def test_retrieval_and_the_store_start_without_torch_faiss_or_pandas():
    code = (
        "import sys, nndefense.retrieval.votes, nndefense.retrieval.weights, nndefense.database.merge, "
        "nndefense.database.softmax_store, nndefense.axes.shards; "
        "print(sorted({'torch', 'faiss', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "scripts"},
        check=True,
    )
    assert run.stdout.strip() == "[]"
