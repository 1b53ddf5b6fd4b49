"""The poisoning certificate against all insertions of a finite set, and against cases solved by hand."""

from fractions import Fraction
from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.certificates.poisoning import certify_all, certify_neighbors, certify_vote
from nndefense.core.errors import ConfigError, InputError
from nndefense.retrieval import WEIGHTINGS
from nndefense.retrieval.votes import COMBINATIONS, vote, vote_all
from nndefense.retrieval.weights import largest_contribution, stored_weights, weight_columns, weighting_function

INSTANCES = 400
SEED = st.integers(0, 2**32 - 1)


def rows_with_ties(rng, *shape):
    """Softmax rows in float16: one-hot, uniform, eighths that repeat, and random ones."""
    classes = shape[-1]
    count = int(np.prod(shape[:-1]))
    kinds = [
        np.eye(classes)[rng.integers(classes, size=count)],
        np.full((count, classes), 1 / classes),
        rng.multinomial(8, np.full(classes, 1 / classes), size=count) / 8,
        rng.dirichlet(np.full(classes, 0.4), size=count),
    ]
    kind = rng.choice(len(kinds), size=count, p=[0.35, 0.1, 0.35, 0.2])
    return np.stack(kinds)[kind, np.arange(count)].astype(np.float16).astype(np.float32).reshape(shape)


def weights_of(rows, weighting):
    return weighting_function(weighting)(rows)


def insertions(rng, classes):
    """Rows that an attacker may insert: one-hot ones of every class among them."""
    return np.concatenate([np.eye(classes, dtype=np.float32), rows_with_ties(rng, 3, classes)])


def tolerated_by_trying(rows, k, weighting, combination, own, tried):
    """The most insertions that no choice of them turns; rows: (L, C) valid neighbours, L <= k."""
    for count in range(1, k + 1):
        chosen = np.array(list(combinations_with_replacement(range(len(tried)), count)))
        kept = np.broadcast_to(rows[: k - count], (len(chosen), *rows[: k - count].shape))
        lists = np.concatenate([tried[chosen], kept], axis=1)
        if (vote(lists, weights_of(lists, weighting), combination) != own).any():
            return count - 1
    raise AssertionError("k insertions are the whole vote")


def spare(rows, k, weighting, combination, own, count):
    """The lead over the nearest rival, less what insertions take, in exact arithmetic."""
    kept, scores = rows[: k - count], [Fraction(0)] * rows.shape[1]
    for row, weight in zip(kept, weights_of(kept, weighting), strict=True):
        ballot = row if combination == "soft" else np.eye(len(row))[row.argmax()]
        scores = [score + Fraction(float(weight)) * Fraction(float(p)) for score, p in zip(scores, ballot, strict=True)]
    rival = max(score for place, score in enumerate(scores) if place != own)
    return scores[own] - rival - count * Fraction(largest_contribution(weighting, rows.shape[1]))


def certify(rows, weighting, combination, k):
    """Class and radius of one list (L, C), padded to k places that are not valid."""
    softmax, valid = np.full((1, k, rows.shape[1]), np.nan, np.float32), np.zeros((1, k), bool)
    softmax[0, : len(rows)], valid[0, : len(rows)] = rows[:k], True
    weights = weights_of(np.nan_to_num(softmax), weighting)
    largest = largest_contribution(weighting, rows.shape[1])
    classes, radius = certify_vote(softmax, weights, largest, combination, valid)
    return int(classes[0]), int(radius[0])


# -- the bound, and trying everything


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_no_choice_of_insertions_turns_what_is_certified_and_one_more_does(weighting, combination):
    """2,400 instances in all, exactly: an answer that ties survives where its class is the smaller, and only there.

    But a tie that floats cannot settle, as one of its sums is rounded, counts as lost.
    """
    rng = np.random.default_rng([5, *map(ord, weighting + combination)])
    seen, unsettled = [], 0
    for _ in range(INSTANCES):
        classes, k = int(rng.integers(2, 5)), int(rng.integers(1, 6))
        # One likely class, so that something is tolerated; fewer neighbours than places, every third time.
        rows = rows_with_ties(rng, k if rng.random() < 0.67 else int(rng.integers(1, k + 1)), classes)
        sure = rng.random(len(rows)) < 0.7
        rows[sure] = np.eye(classes, dtype=np.float32)[rng.integers(classes)]
        own, radius = certify(rows, weighting, combination, k)
        expected = tolerated_by_trying(rows, k, weighting, combination, own, insertions(rng, classes))
        if radius != expected:
            assert (radius < expected, spare(rows, k, weighting, combination, own, radius + 1)) == (True, 0)
            unsettled += 1
        seen.append(radius)
    assert {0, 1, 2} <= set(seen)
    assert unsettled <= (4 if (weighting, combination) == ("CBW-E", "soft") else 0)


@pytest.mark.parametrize(("own", "other", "tolerated"), [(0, 1, 2), (1, 0, 1)])
@pytest.mark.parametrize("combination", COMBINATIONS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_tie_is_lost_to_smaller_classes_alone(own, other, tolerated, combination, weighting):
    rows = np.eye(3, dtype=np.float32)[[own, own, own, other]]
    assert certify(rows, weighting, combination, 4) == (own, tolerated)


def test_the_nearest_rival_is_not_always_the_second_of_the_whole_list():
    """Class 1 has more votes than class 0 in the list, but they are the last, which insertions push out."""
    rows = np.eye(3, dtype=np.float32)[[2, 2, 2, 0, 1, 1]]
    assert certify(rows, "UW", "hard", 6) == (2, 1)
    assert certify(rows[[0, 1, 2, 4, 5, 3]], "UW", "hard", 6) == (2, 0)
    assert certify(rows[[0, 1, 2]], "UW", "hard", 6) == (2, 2)


@given(SEED, st.integers(2, 30), st.floats(0.05, 30))
def test_no_row_adds_more_than_the_largest_contribution(seed, classes, scale):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(20, classes))).astype(np.float32)
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows = np.concatenate([rows / rows.sum(axis=1, keepdims=True), np.eye(classes, dtype=np.float32)])
    lead = (rows.max(axis=1) - rows.min(axis=1)).astype(np.float64)
    for name in WEIGHTINGS:
        weights, largest = weighting_function(name)(rows), largest_contribution(name, classes)
        assert (weights * lead <= largest).all()
        assert (weights <= largest).all()
        assert (weights[20:] * lead[20:] == largest).all()


@pytest.mark.parametrize("classes", [2, 10, 21, 1000])
def test_largest_contributions(classes):
    assert largest_contribution("UW", classes) == 1
    assert largest_contribution("CBW-E", classes) == np.float32(np.log(classes))
    assert largest_contribution("CBW-D", classes) == min(20, classes - 1)
    with pytest.raises(ConfigError, match="CBW-X"):
        largest_contribution("CBW-X", classes)


# -- properties


@settings(max_examples=60, deadline=None)
@given(SEED, st.integers(2, 12), st.integers(2, 5), st.sampled_from(sorted(WEIGHTINGS)), st.sampled_from(COMBINATIONS))
def test_an_insertion_uses_up_one_and_never_more(seed, k, classes, weighting, combination):
    """So what holds against T insertions holds against any T - 1 of them, and goes on to hold against one."""
    rng = np.random.default_rng(seed)
    rows = rows_with_ties(rng, k, classes)
    rows[rng.random(k) < 0.6] = np.eye(classes, dtype=np.float32)[0]
    own, radius = certify(rows, weighting, combination, k)
    after = [
        certify(np.concatenate([one[None], rows[: k - 1]]), weighting, combination, k)
        for one in insertions(rng, classes)
    ]
    if radius:
        assert {found for found, _ in after} == {own}
        assert min(left for _, left in after) == radius - 1


@settings(max_examples=60, deadline=None)
@given(SEED, st.integers(-30, 30), st.sampled_from(COMBINATIONS))
def test_the_scale_of_weights_changes_nothing(seed, power, combination):
    rng = np.random.default_rng(seed)
    softmax, weights = rows_with_ties(rng, 30, 7, 3), rng.choice([0, 0.3, 0.5, 1], size=(30, 7)).astype(np.float32)
    valid = rng.random((30, 7)) < 0.9
    softmax[0], weights[0], valid[0] = [0, 1, 0], 1, True
    expected = certify_vote(softmax, weights, 1.0, combination, valid)
    scale = np.float32(2.0**power)
    np.testing.assert_array_equal(
        certify_vote(softmax, weights * scale, float(scale), combination, valid), np.stack(expected)
    )
    assert expected[1][0] == 3


@settings(max_examples=30, deadline=None)
@given(SEED, st.sampled_from(COMBINATIONS))
def test_at_most_half_of_the_neighbours_are_tolerated(seed, combination):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 20))
    softmax = rows_with_ties(rng, 40, k, 3)
    softmax[:20] = np.eye(3, dtype=np.float32)[rng.integers(3, size=20)][:, None]
    weights = rng.random((40, k), dtype=np.float32)
    _, radius = certify_vote(softmax, weights, 1.0, combination)
    assert (radius <= k // 2).all()
    # Of neighbours of one mind with full weight, just under a half may be pushed out, or a half with the tie.
    classes, radius = certify_vote(softmax[:20], np.ones((20, k), np.float32), 1.0, combination)
    np.testing.assert_array_equal(radius, np.where(classes == 0, k // 2, (k - 1) // 2))


# -- cases


@pytest.mark.parametrize(("own", "tolerated"), [(0, 3), (1, 2)])
def test_lists_shorter_than_k_lose_none_until_they_are_full(own, tolerated):
    rows = np.eye(2, dtype=np.float32)[[own] * 3]
    assert certify(rows, "UW", "hard", 10) == (own, tolerated)
    assert certify(rows, "UW", "hard", 3) == (own, 1)


def test_a_query_without_a_neighbour_has_no_class_and_no_radius():
    softmax, valid = np.full((2, 3, 2), np.nan), np.array([[False] * 3, [True, False, False]])
    softmax[1, 0] = 1, 0
    for combination in COMBINATIONS:
        classes, radius = certify_vote(softmax, np.full((2, 3), 5.0), 5.0, combination, valid)
        assert (classes.tolist(), radius.tolist()) == ([-1, 0], [0, 1])


def test_places_that_are_not_valid_are_no_neighbours_wherever_they_stand():
    rng = np.random.default_rng(6)
    softmax, weights = rows_with_ties(rng, 200, 9, 3), rng.random((200, 9), dtype=np.float32)
    valid = rng.random((200, 9)) < 0.6
    order = np.argsort(~valid, axis=1, kind="stable")
    moved = [np.take_along_axis(one, order, axis=1) for one in (weights, valid)]
    sorted_rows = np.take_along_axis(softmax, order[:, :, None], axis=1)
    for combination in COMBINATIONS:
        found = certify_vote(softmax, weights, 1.0, combination, valid)
        np.testing.assert_array_equal(found, certify_vote(sorted_rows, moved[0], 1.0, combination, moved[1]))
        assert found[1].max() > 1


def test_one_insertion_decides_where_all_weights_are_0():
    rows = np.full((6, 4), 0.25, np.float32)
    assert certify(rows, "UW", "soft", 6) == (0, 0)
    assert certify(rows, "CBW-D", "hard", 6) == (0, 0)
    # Nine votes of class 1, but in rows with two classes as likely, which CBW-D of two classes gives no weight.
    rows = np.full((9, 2), 0.5, np.float32)
    sure = np.array([[0.25, 0.75]], np.float32)
    assert certify(rows, "CBW-D", "soft", 9)[1] == 0
    assert certify(np.concatenate([rows, sure]), "CBW-D", "soft", 10) == (1, 0)


def test_a_lead_that_rounding_may_decide_is_not_certified():
    """Nearest first the lead of class 1 is 1 + 2^-52; in another order it is 1, a tie, and lost."""
    softmax = np.eye(2, dtype=np.float32)[[[1, 1, 1, 0]]]
    for small, expected in ((2.0**-53, 0), (2.0**-20, 1)):
        weights = np.array([[small, small, 1, 0]], np.float32)
        assert [one.tolist() for one in certify_vote(softmax, weights, 1.0)] == [[1], [expected]]
    # And a tie of sums that are not exact is none.
    weights = np.array([[1, 2.0**-60, 0, 0]], np.float32)
    assert certify_vote(np.eye(2, dtype=np.float32)[[[0, 1, 0, 0]]], weights, 1.0)[1].tolist() == [0]


# -- all cells at once


@settings(max_examples=30, deadline=None)
@given(SEED, st.integers(1, 9), st.integers(2, 5), st.integers(1, 6))
def test_all_cells_equal_single_certificates(seed, places, classes, queries):
    rng = np.random.default_rng(seed)
    softmax = rows_with_ties(rng, queries, places, classes)
    cbw = np.stack([stored_weights(block) for block in softmax])
    valid = rng.random((queries, places)) < 0.8
    axes = {
        "neighbors": sorted({int(k) for k in rng.integers(1, places + 1, size=3)}),
        "weightings": tuple(WEIGHTINGS),
        "combinations": COMBINATIONS,
    }
    found = certify_all(softmax, cbw, valid, **axes, block_bytes=int(rng.integers(1, 4000)))
    votes = vote_all(softmax, cbw, valid, **axes)
    assert list(found) == list(votes)
    for (k, weighting, combination), (predicted, radius) in found.items():
        np.testing.assert_array_equal(predicted, votes[k, weighting, combination])
        weights = np.ones_like(cbw[..., 0]) if weighting == "UW" else cbw[..., weight_columns().index(weighting)]
        largest = largest_contribution(weighting, classes)
        expected = certify_vote(softmax[:, :k], weights[:, :k], largest, combination, valid[:, :k])
        np.testing.assert_array_equal((predicted, radius), expected)


@pytest.mark.parametrize("queries", [0, 1, 23])
def test_certificates_by_id_equal_those_by_row(queries):
    rng = np.random.default_rng(4)
    rows = rows_with_ties(rng, 60, 6)
    weights = stored_weights(rows)
    ids = rng.integers(-1, 60, size=(queries, 9))

    def take(block):
        return rows[block], weights[block], block != -1

    axes = {"neighbors": [2, 5], "weightings": tuple(WEIGHTINGS), "combinations": COMBINATIONS}
    found = certify_neighbors(take, ids, classes=6, block_bytes=700, **axes)
    expected = certify_all(*take(ids), **axes)
    assert found.keys() == expected.keys() == set(product([2, 5], WEIGHTINGS, COMBINATIONS))
    for key, certified in found.items():
        np.testing.assert_array_equal(certified, expected[key])


def test_bad_arguments_are_named():
    rows, weights = np.full((1, 2, 2), 0.5), np.ones((1, 2))
    for changed, error, words in (
        ({"combination": "mean"}, ConfigError, "combination 'mean'"),
        ({"softmax": rows[:, :, :1]}, InputError, "1 classes; allowed: at least 2"),
        ({"softmax": rows + 0.6}, InputError, r"outside of \[0, 1\]"),
        ({"softmax": rows * np.nan}, InputError, r"outside of \[0, 1\]"),
        ({"weights": weights * 1.5}, InputError, r"within \[0, 1\]"),
        ({"largest": 0.0}, InputError, r"within \[0, 0\]"),
    ):
        with pytest.raises(error, match=words):
            certify_vote(**{"softmax": rows, "weights": weights, "largest": 1.0, **changed})
    with pytest.raises(InputError, match="neighbors 3 exceeds the 2 places"):
        certify_all(
            rows, np.ones((1, 2, 2)), weights > 0, neighbors=[3], weightings=["UW"], combinations=["soft"]
        )  # fmt: skip
