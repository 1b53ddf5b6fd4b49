"""PCA against full SVD and scikit-learn, and its moments against numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.decomposition import IncrementalPCA

from nndefense.core.errors import ConfigError, InputError
from nndefense.features.pca import Moments, as_torch, fit_pca, fit_pca_randomized


def _features(count=400, dimension=60, seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    spread = 0.9 ** np.arange(dimension)
    rotation = np.linalg.qr(rng.standard_normal((dimension, dimension)))[0]
    return (rng.standard_normal((count, dimension)) * spread) @ rotation + mean + rng.random(dimension)


def _moments(*blocks):
    moments = Moments.empty(blocks[0].shape[1])
    for block in blocks:
        moments.update(block)
    return moments


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1e6]),
)
@settings(max_examples=40, deadline=None)
def test_moments_of_any_blocks_in_any_order_are_those_of_all_rows(sizes, seed, mean):
    rng = np.random.default_rng(seed)
    blocks = [rng.standard_normal((size, 4)) + mean for size in sizes]
    rows = np.concatenate(blocks)
    streamed = _moments(*blocks)
    merged = Moments.empty(4)
    for index in rng.permutation(len(blocks)):
        merged.merge(_moments(blocks[index]))
    for moments in (streamed, merged):
        assert moments.count == len(rows)
        if len(rows):
            np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-9, atol=1e-12)
            centred = rows - rows.mean(0)
            np.testing.assert_allclose(moments.scatter, centred.T @ centred, rtol=1e-6, atol=1e-6)


def test_update_leaves_its_block_unchanged():
    block = _features(50)
    before = block.copy()
    pca = fit_pca(_moments(block), 5)
    pca.transform(block)
    assert np.array_equal(block, before)


def test_equals_full_svd_and_scikit_learn():
    rows = _features()
    pca = fit_pca(_moments(rows[:150], rows[150:]), 20)
    _, values, vectors = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs((pca.components * vectors[:20]).sum(1)), 1, atol=1e-5)
    np.testing.assert_allclose(pca.explained_variance, values[:20] ** 2 / 399, rtol=1e-9)
    np.testing.assert_allclose(pca.explained_variance_ratio, values[:20] ** 2 / (values**2).sum(), rtol=1e-9)
    reference = SklearnPCA(20, svd_solver="full").fit(rows)
    signs = np.sign((reference.components_ * pca.components).sum(1))
    np.testing.assert_allclose(pca.transform(rows), reference.transform(rows) * signs, atol=1e-5)
    assert pca.samples == 400


def test_spans_the_space_of_incremental_pca():
    rows = _features(600, 40)
    pca = fit_pca(_moments(rows), 10)
    reference = IncrementalPCA(10, batch_size=200).fit(rows)
    angles = subspace_angles(pca.components[:5].T.astype(float), reference.components_[:5].T)
    assert np.cos(angles).min() > 0.99
    assert pca.explained_variance.sum() >= reference.explained_variance_.sum() * (1 - 1e-9)


@pytest.mark.parametrize("method", ["exact", "randomized"])
def test_components_are_orthonormal_with_positive_largest_entry(method):
    rows = _features(300, 80)
    pca = fit_pca(_moments(rows), 40) if method == "exact" else fit_pca_randomized(lambda: [rows], 40)
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(40), atol=1e-4)
    largest = np.abs(pca.components).argmax(1)
    assert (pca.components[np.arange(40), largest] > 0).all()
    assert np.all(np.diff(pca.explained_variance) <= 0)


def test_signs_do_not_depend_on_the_order_of_blocks():
    rows = _features(300, 30)
    first = fit_pca(_moments(rows[:100], rows[100:]), 8)
    second = fit_pca(_moments(rows[200:], rows[:200]), 8)
    np.testing.assert_allclose(first.components, second.components, atol=1e-6)


@pytest.mark.parametrize("method", ["exact", "randomized"])
def test_mean_far_above_the_spread_costs_no_accuracy(method):
    small = _features(500, 30, mean=0.0)
    small = np.round(small * 2**9) / 2**9
    large = small + 2.0**14
    as_float32 = large.astype(np.float32)
    assert np.array_equal(as_float32, large.astype(np.float64)), "the case must be exact in float32"

    def fit(rows):
        if method == "exact":
            return fit_pca(_moments(rows[:77], rows[77:]), 10)
        return fit_pca_randomized(lambda: [rows[:77], rows[77:]], 10)

    near, far = fit(small.astype(np.float32)), fit(as_float32)
    np.testing.assert_allclose(far.explained_variance, near.explained_variance, rtol=1e-6)
    np.testing.assert_allclose(far.transform(as_float32), near.transform(small), atol=1e-4)


def test_randomized_captures_nearly_all_that_the_exact_one_does():
    rows = _features(500, 200, seed=3)
    blocks = [rows[:200].astype(np.float32), rows[200:].astype(np.float32)]
    exact = fit_pca(_moments(*blocks), 20)
    close = fit_pca_randomized(lambda: iter(blocks), 20, seed=1)
    assert close.explained_variance.sum() > exact.explained_variance.sum() * 0.9999
    np.testing.assert_allclose(close.mean, exact.mean, rtol=1e-9, atol=1e-12)
    assert np.cos(subspace_angles(close.components[:10].T, exact.components[:10].T)).min() > 0.99
    ratio = close.explained_variance_ratio / close.explained_variance
    np.testing.assert_allclose(ratio, exact.explained_variance_ratio[0] / exact.explained_variance[0], rtol=1e-6)
    again = fit_pca_randomized(lambda: iter(blocks), 20, seed=1)
    assert np.array_equal(close.components, again.components)


def test_inverse_restores_features_when_all_components_are_kept():
    rows = _features(200, 12)
    for whiten in (False, True):
        pca = fit_pca(_moments(rows), 12, whiten=whiten)
        np.testing.assert_allclose(pca.inverse(pca.transform(rows)), rows, atol=1e-4)


def test_distances_survive_when_all_components_are_kept():
    rows = _features(50, 12, mean=100.0)
    codes = fit_pca(_moments(rows), 12).transform(rows)
    before = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(codes[:, None] - codes[None], axis=-1), before, atol=1e-4)


def test_whitened_codes_have_unit_variance_and_l2norm_unit_length():
    rows = _features(300, 20)
    white = fit_pca(_moments(rows), 10, whiten=True).transform(rows)
    np.testing.assert_allclose(np.cov(white.T), np.eye(10), atol=1e-4)
    pca = fit_pca(_moments(rows), 10, l2norm=True)
    np.testing.assert_allclose(np.linalg.norm(pca.transform(rows), axis=1), 1, atol=1e-5)
    assert not pca.transform(pca.mean[None].astype(np.float64)).any()
    with pytest.raises(InputError, match="l2norm"):
        pca.inverse(pca.transform(rows))


@pytest.mark.parametrize("whiten", [False, True])
def test_torch_copy_gives_the_same_codes_and_gradients(whiten):
    rows = _features(100, 20).astype(np.float32)
    pca = fit_pca(_moments(rows), 6, whiten=whiten)
    mean, projection = as_torch(pca)
    x = torch.from_numpy(rows).requires_grad_(True)
    codes = (x - mean) @ projection.T
    np.testing.assert_allclose(codes.detach().numpy(), pca.transform(rows), atol=1e-5)
    (gradient,) = torch.autograd.grad(codes[:, 0].sum(), x)
    np.testing.assert_allclose(gradient[0].numpy(), pca.projection()[0])


@pytest.mark.parametrize(("count", "dimension", "expected"), [(5, 20, 4), (50, 8, 8), (400, 300, 256), (2, 9, 1)])
def test_component_count_is_capped(count, dimension, expected):
    rows = np.random.default_rng(0).standard_normal((count, dimension))
    assert fit_pca(_moments(rows)).components.shape == (expected, dimension)
    assert fit_pca_randomized(lambda: [rows]).components.shape == (expected, dimension)


def test_half_precision_and_memory_mapped_blocks(tmp_path):
    rows = _features(100, 10).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    pca = fit_pca(_moments(mapped), 4)
    np.testing.assert_allclose(pca.mean, rows.astype(np.float64).mean(0), rtol=1e-12)
    assert pca.transform(mapped).shape == (100, 4)


def test_bad_input_gives_one_line():
    rows = _features(30, 10)
    pca = fit_pca(_moments(rows), 4)
    damaged = rows.copy()
    damaged[17, 3], damaged[20, 0] = np.nan, np.inf
    for action in (
        lambda: _moments(damaged),
        lambda: pca.transform(damaged),
        lambda: fit_pca_randomized(lambda: [damaged], 4),
    ):
        with pytest.raises(InputError, match="2 rows are NaN or infinite, the first is row 17"):
            action()
    with pytest.raises(InputError, match=r"\(n, 10\) is needed"):
        pca.transform(rows[:, :5])
    with pytest.raises(InputError, match="cannot join"):
        _moments(rows).merge(Moments.empty(3))
    with pytest.raises(InputError, match="at least 2"):
        fit_pca(_moments(rows[:1]), 4)
    with pytest.raises(InputError, match="all 5 rows of features are equal"):
        fit_pca(_moments(np.ones((5, 3))), 2)
    with pytest.raises(ConfigError, match="components 0"):
        fit_pca(_moments(rows), 0)
