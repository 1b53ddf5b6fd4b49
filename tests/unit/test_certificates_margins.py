"""Margins and pairs against geometry, galleries, and draws read in blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.certificates import draws as reading
from nndefense.certificates.base import Gallery, conclude, margins, nearest_label, pair_up, split
from nndefense.certificates.draws import mean_of, moments_of, read_blocks
from nndefense.core.errors import InputError


def random_case(rng, right=4, wrong=6, width=3, spread=0.6):
    def rows(n):
        return rng.uniform(-spread, spread, (n, width))

    return rows(1)[0], rows(right), rows(wrong)


def nearest_is_right(point, right, wrong):
    return np.linalg.norm(right - point, axis=1).min() < np.linalg.norm(wrong - point, axis=1).min()


def test_margins_are_distances_from_bisectors():
    point, right, wrong = random_case(np.random.default_rng(1))
    found = margins(point, right, wrong)
    for i, near in enumerate(right):
        for j, far in enumerate(wrong):
            # Walked along the line between the two, the point is as near to one as to the other there and only there.
            foot = point + found[i, j] * (far - near) / np.linalg.norm(far - near)
            assert np.linalg.norm(foot - near) == pytest.approx(np.linalg.norm(foot - far), abs=1e-12)
    np.testing.assert_allclose(margins(3 * point, 3 * right, 3 * wrong), 3 * found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
def test_the_answer_stands_within_the_smallest_margin(seed, n_right, n_wrong):
    rng = np.random.default_rng(seed)
    point, right, wrong = random_case(rng, n_right, n_wrong)
    margin = margins(point, right, wrong).max(axis=0).min()
    directions = rng.standard_normal((60, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Towards and away from every vector, too, where margins are tight.
    towards = np.concatenate([wrong - right[k] for k in range(n_right)])
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    held = [
        nearest_is_right(point + 0.999999 * max(margin, 0) * step, right, wrong) for step in (*directions, *towards)
    ]
    assert all(held) == (margin > 0)


def test_swapped_minimum_and_maximum_fail_on_three_points():
    """One right vector between two wrong ones: the farther of them has the larger margin, which does not stand."""
    point, right, wrong = np.array([0.1, 0.0]), np.array([[0.0, 0.0]]), np.array([[0.6, 0.0], [-0.8, 0.0]])
    found = margins(point, right, wrong)
    np.testing.assert_allclose(found, [[0.2, 0.5]])
    aside = np.array([1.0, 0.0])
    assert nearest_is_right(point + 0.199 * aside, right, wrong)
    assert not nearest_is_right(point + (found.min(axis=0).max() - 0.001) * aside, right, wrong)
    pairs = pair_up(point, right, wrong, False)
    assert (pairs.bisectors - pairs.normals @ point).min() == pytest.approx(0.2)
    # Two right vectors and a wrong one: the nearer right one keeps it out, whatever the other.
    assert margins(point, wrong, right).max(axis=0).min() == pytest.approx(-0.2)
    pairs = pair_up(point, wrong, right, False)
    assert (pairs.bisectors - pairs.normals @ point).min() == pytest.approx(-0.2)


def test_every_wrong_vector_is_kept_out_by_a_right_one_of_its_own():
    """Two right vectors, each of which shields the point from the wrong one behind it."""
    point = np.array([0.0, 0.0])
    right = np.array([[0.3, 0.0], [-0.3, 0.0]])
    wrong = np.array([[0.7, 0.0], [-0.7, 0.0]])
    found = margins(point, right, wrong)
    np.testing.assert_allclose(found, [[0.5, 0.2], [0.2, 0.5]])
    assert found.max(axis=0).min() == pytest.approx(0.5)
    assert found.min(axis=1).max() == pytest.approx(0.2)
    pairs = pair_up(point, right, wrong, False)
    np.testing.assert_allclose(pairs.bisectors - pairs.normals @ point, 0.5)
    np.testing.assert_allclose(pairs.normals, [[1, 0], [-1, 0]])


def test_one_vector_for_all_is_never_better_and_sometimes_worse():
    rng = np.random.default_rng(3)
    worse = 0
    for _ in range(400):
        found = margins(*random_case(rng, 5, 8, width=8))
        own, shared = found.max(axis=0).min(), found.min(axis=1).max()
        assert own >= shared
        worse += own > shared + 1e-12
    assert 0.02 < worse / 400 < 0.9


@pytest.mark.parametrize("nonnegative", [False, True])
def test_pairs_hold_the_half_space_and_its_range(nonnegative):
    rng = np.random.default_rng(4)
    point, right, wrong = map(np.abs, random_case(rng))
    pairs = pair_up(point, right, wrong, nonnegative)
    np.testing.assert_allclose(pairs.bisectors - pairs.normals @ point, margins(point, right, wrong).max(axis=0))
    embeddings = rng.standard_normal((20_000, 3))
    embeddings = np.abs(embeddings) if nonnegative else embeddings
    # Lengths of 0 to 1: the range of a normal without a positive entry ends at 0.
    embeddings *= (np.linspace(0, 1, 20_000) ** 0.2 / np.linalg.norm(embeddings, axis=1))[:, None]
    values = embeddings @ pairs.normals.T
    assert (values >= pairs.lows).all()
    assert (values <= pairs.highs).all()
    np.testing.assert_allclose(values.max(axis=0), pairs.highs, atol=0.05)
    np.testing.assert_allclose(values.min(axis=0), pairs.lows, atol=0.05)
    widths = pairs.highs - pairs.lows
    assert (widths <= np.sqrt(2) + 1e-12).all() if nonnegative else (widths == 2).all()
    assert len(pairs) == 6
    np.testing.assert_array_equal(pairs.take(slice(2, 4)).normals, pairs.normals[2:4])


def test_rounding_never_moves_a_bisector_outwards():
    rng = np.random.default_rng(5)
    for scale in (1e-9, 1e-3, 1.0):
        right = rng.standard_normal((1, 40))
        wrong = right + scale * rng.standard_normal((30, 40))
        exact_right, exact_wrong = right.astype(np.longdouble), wrong.astype(np.longdouble)
        apart = exact_wrong - exact_right
        normals = apart / np.sqrt((apart**2).sum(axis=1, keepdims=True))
        exact = (normals * (exact_wrong + exact_right) / 2).sum(axis=1)
        found = pair_up(right[0], right, wrong, False).bisectors
        assert (found < exact).all()
        np.testing.assert_allclose(found, exact.astype(float), atol=1e-9)


def test_copies_never_keep_each_other_out():
    point, right, wrong = random_case(np.random.default_rng(6))
    wrong[2] = right[1]
    found = margins(point, right, wrong)
    assert np.isneginf(found).sum() == 1
    assert np.isneginf(found[1, 2])
    pairs = pair_up(point, right, wrong, True)
    assert np.isfinite(pairs.bisectors).all()
    assert pair_up(point, right[[1, 1]], wrong, False) is None
    # Another right vector that is nearer keeps the copy out.
    near, copy = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0]])
    assert pair_up(np.zeros(2), near, copy, False).bisectors == pytest.approx(0.5)


def test_nearest_labels_follow_a_loop_and_ties_go_to_the_smallest_index():
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((30, 5))
    vectors[20:] = vectors[:10]
    gallery = Gallery(vectors, np.arange(30))
    points = np.concatenate([rng.standard_normal((50, 5)), vectors])
    expected = [np.linalg.norm(vectors - point, axis=1).argmin() for point in points]
    found = nearest_label(points, gallery)
    np.testing.assert_array_equal(found, expected)
    assert found.max() < 20
    between = Gallery(np.array([[1.0, 0.0], [0.0, 0.0], [-0.0, 0.0]]), np.array([7, 5, 6]))
    assert nearest_label(np.array([[0.5, 0.0], [-1.0, 0.0]]), between).tolist() == [7, 5]
    right, wrong = split(5, between)
    assert right.shape == (1, 2)
    assert wrong.tolist() == [[1, 0], [0, 0]]


def test_galleries_are_checked():
    for vectors, labels, words in (
        (np.zeros((2, 3)), np.zeros(3, int), r"\(G, D\) vectors and \(G,\) labels, got \(2, 3\) and \(3,\)"),
        (np.zeros((0, 3)), np.zeros(0, int), "got"),
        (np.full((1, 3), np.nan), np.zeros(1, int), "finite"),
        (np.zeros((1, 3)), np.array([-1]), "integers >= 0"),
        (np.zeros((1, 3)), np.array([0.0]), "integers >= 0"),
    ):
        with pytest.raises(InputError, match=words):
            Gallery(vectors, labels)
    assert Gallery(np.zeros((1, 3), np.float16), np.zeros(1, np.uint8)).vectors.dtype == np.float64


def test_a_certificate_abstains_where_nothing_is_proven():
    for radius in (0.0, -0.1, float("nan"), -np.inf):
        assert (conclude(3, radius).label, conclude(3, radius).radius) == (-1, 0)
    assert (conclude(3, 0.1).label, conclude(3, np.inf).radius) == (3, np.inf)


def test_blocks_of_draws_are_the_draws(monkeypatch):
    monkeypatch.setattr(reading, "BLOCK", 7)
    rng = np.random.default_rng(8)
    exact = rng.standard_normal((40, 4))
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    half = exact.astype(np.float16)
    parts = list(read_blocks(half, False))
    assert [len(part) for part in parts] == [7] * 5 + [5]
    rows = np.concatenate(parts)
    lengths = np.linalg.norm(half.astype(float), axis=1)
    assert lengths.max() > 1
    np.testing.assert_allclose(rows, half / np.maximum(lengths, 1)[:, None], rtol=1e-12)
    np.testing.assert_allclose(mean_of(half, False), rows.mean(axis=0), atol=1e-15)
    normals = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    mean, means, variances = moments_of(half, normals, rows[0], False)
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(means, (rows @ normals.T).mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(variances, (rows @ normals.T).var(axis=0, ddof=1), rtol=1e-12)


def test_variances_do_not_cancel_where_draws_hardly_differ():
    rng = np.random.default_rng(9)
    draws = np.array([0.8, 0.6]) * (1 - 1e-6 * rng.random((5000, 1)))
    _, _, variances = moments_of(draws, np.array([[0.8, 0.6]]), draws[:10].mean(axis=0), False)
    assert variances[0] == pytest.approx((1e-6 * rng.random(100_000)).var(), rel=0.05)


def test_embeddings_out_of_range_are_named():
    for rows, nonnegative, words in (
        ([[0.9, 0.9]], False, "length 1.27279; allowed: at most 1"),
        ([[np.nan, 0.0]], False, "length nan"),
        ([[np.inf, 0.0]], False, "length inf"),
        ([[0.5, -0.25]], True, "entry -0.25; allowed: none below 0"),
    ):
        with pytest.raises(InputError, match=words):
            mean_of(np.array(rows), nonnegative)
    assert mean_of(np.array([[0.5, -0.25]]), False).tolist() == [0.5, -0.25]
