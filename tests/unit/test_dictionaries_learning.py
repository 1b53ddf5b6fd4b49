"""Learning of dictionaries against sums written out, known filters, and what must hold for any images."""

import io

import numpy as np
import pytest
import torch

from nndefense.core.errors import ConfigError, InputError
from nndefense.dictionaries.coding import code
from nndefense.dictionaries.learning import Learning, begin, correlations, follow, learn
from nndefense.dictionaries.spectrum import transform_filters
from nndefense.dictionaries.split import split
from tests.unit.dictionary_cases import convolved, pictures, random_filters

IMAGES = pictures(40, seed=1)
SMALL = {"filters": 8, "size": 5, "seed": 3}
OPTIONS = {"sparsity": 0.05, "batch": 6, "seed": 2}


def read(rows):
    return IMAGES[torch.from_numpy(rows)]


def learnt(steps=5, state=None, images=read, count=40, **options):
    return learn(state or begin(**SMALL), images, count, steps=steps, **OPTIONS | options)


def same(one: Learning, other: Learning) -> bool:
    return one.steps == other.steps and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("filters", "gram", "cross")
    )


def explained(filters, images=IMAGES, sparsity=0.05):
    """Objective of held-out images as a share of that without codes."""
    high = split(images, 5.0)[1]
    found = code(high, transform_filters(torch.from_numpy(filters), 20, 18), sparsity, method="admm")
    return float(found.objectives[:, -1].sum() / found.objectives[:, 0].sum())


def sparse_maps(count=3, filters=6, height=16, width=17, seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((count, filters, height, width)) * (
        random.random((count, filters, height, width)) < 0.05
    )


def test_correlations_are_sums_over_images_and_pixels():
    maps, high = sparse_maps(), pictures(3, 16, 17, dtype=torch.float64).numpy()
    gram, cross = correlations(torch.from_numpy(maps), torch.from_numpy(high), 4)
    assert gram.shape == (6, 6, 7, 7)
    assert cross.shape == (6, 3, 4, 4)
    for m, n, row, column in ((0, 1, -3, 2), (1, 0, 3, -2), (5, 5, 0, 0), (2, 3, 1, 3)):
        moved = np.roll(maps[:, n], (-row, -column), axis=(1, 2))
        assert gram[m, n, row + 3, column + 3] == pytest.approx((maps[:, m] * moved).sum(), abs=1e-9)
    for m, channel, row, column in ((0, 0, 0, 0), (4, 2, 3, 1), (1, 1, 2, 3)):
        moved = np.roll(high[:, channel], (-row, -column), axis=(1, 2))
        assert cross[m, channel, row, column] == pytest.approx((maps[:, m] * moved).sum(), abs=1e-9)


def test_filters_never_move_away_from_what_the_codes_ask_for():
    maps, high = sparse_maps(), pictures(3, 16, 17, dtype=torch.float64).numpy()
    gram, cross = correlations(torch.from_numpy(maps), torch.from_numpy(high), 4)
    filters, values = random_filters(6, 4, seed=5, dtype=torch.float64), []
    for _ in range(12):
        values.append(np.square(convolved(maps, filters.numpy()) - high).sum())
        filters = follow(filters, gram, cross)
        torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(6, dtype=torch.float64))
    assert (np.diff(values) < 0).all()


def test_known_filters_are_found_from_their_codes():
    maps, true = sparse_maps(), random_filters(6, 4, dtype=torch.float64)
    high = torch.from_numpy(convolved(maps, true.numpy()))
    gram, cross = correlations(torch.from_numpy(maps), high, 4)
    filters = random_filters(6, 4, seed=9, dtype=torch.float64)
    assert (filters - true).abs().max() > 0.1
    for _ in range(200):
        filters = follow(filters, gram, cross)
    torch.testing.assert_close(filters, true, atol=1e-4, rtol=0)


def test_filters_without_codes_stay():
    maps = sparse_maps()
    maps[:, 2] = 0
    gram, cross = correlations(torch.from_numpy(maps), torch.randn(3, 3, 16, 17, dtype=torch.float64), 4)
    filters = random_filters(6, 4, dtype=torch.float64)
    moved = follow(filters, gram, cross)
    unmoved = (moved == filters).flatten(1).all(dim=1)
    assert unmoved.tolist() == [False, False, True, False, False, False]


def test_learning_explains_images_it_has_not_seen():
    held_out = pictures(10, seed=7)
    state, seen = begin(**SMALL), []
    before = explained(state.filters, held_out)
    state = learnt(12, state, watch=lambda step, objective: seen.append((step, objective)))
    assert [step for step, _ in seen] == list(range(1, 13))
    assert np.mean([objective for _, objective in seen[-3:]]) < 0.8 * seen[0][1]
    assert explained(state.filters, held_out) < 0.8 * before
    assert state.filters.shape == (8, 3, 5, 5)
    np.testing.assert_allclose(np.square(state.filters).sum(axis=(1, 2, 3)), 1, rtol=1e-5)
    # A band without high frequencies would leave filters that are flat, whose squared sum is their 25 pixels' at most.
    flatness = np.square(state.filters.sum(axis=(2, 3))).sum(axis=1) / 25
    assert flatness.max() < 0.7


def test_both_methods_of_coding_learn_as_well():
    found = [explained(learnt(8, method=method).filters) for method in ("fista", "admm")]
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_learning_goes_on_from_stored_arrays_as_if_it_had_not_ended():
    whole = learnt(6)
    half = learnt(3)
    file = io.BytesIO()
    np.savez(file, filters=half.filters, gram=half.gram, cross=half.cross)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        half = Learning(**stored, steps=half.steps)
    assert same(learnt(3, half), whole)


def test_seeds_decide_and_nothing_else_does():
    assert same(learnt(2), learnt(2))
    assert not same(learnt(2), learnt(2, seed=3))
    assert not np.array_equal(begin(**SMALL).filters, begin(**SMALL | {"seed": 4}).filters)
    before = begin(**SMALL)
    learnt(2, before)
    assert same(before, begin(**SMALL))


def test_batches_are_random_and_without_repetition():
    asked = []

    def watched(rows):
        asked.append(rows.tolist())
        return read(rows)

    learnt(8, images=watched)
    assert all(len(set(rows)) == 6 for rows in asked)
    assert len({tuple(rows) for rows in asked}) == 8
    assert len({row for rows in asked for row in rows}) > 20
    assert len(learnt(1, images=watched, count=4).filters) == 8
    assert asked[-1] == [0, 1, 2, 3]


def test_old_batches_are_forgotten():
    before = learnt(3)
    seen = {}

    def keep(rows):
        seen["images"] = read(rows)
        return seen["images"]

    after = learnt(1, before, images=keep, forgetting=2.0)
    high = split(seen["images"], 5.0)[1]
    spectrum = transform_filters(torch.from_numpy(before.filters), 20, 18)
    maps = code(high, spectrum, 0.05, iterations=100, tolerance=1e-2).maps
    gram, cross = correlations(maps, high, 5)
    np.testing.assert_allclose(after.gram, (3 / 4) ** 2 * before.gram + gram.numpy(), atol=1e-5)
    np.testing.assert_allclose(after.cross, (3 / 4) ** 2 * before.cross + cross.numpy(), atol=1e-5)


def test_colours_stay_in_their_channels():
    """A channel that never changes gets no filter; reshaped instead of transposed, images would mix channels."""
    images = IMAGES.clone()
    images[:, 1:] = 0.5

    def astray(state):
        return np.square(state.filters[:, 1:]).sum(axis=(1, 2, 3))

    state = learnt(20, images=lambda rows: images[torch.from_numpy(rows)])
    # The middle lag is a filter's use.
    use = state.gram[np.arange(8), np.arange(8), 4, 4]
    assert (use > 0).sum() > 3
    assert astray(begin(**SMALL)).min() > 0.5
    assert (astray(state) * use).sum() / use.sum() < 0.05


def test_learning_needs_a_high_band():
    for low_pass in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match=r"low_pass is .*; allowed: a finite number > 0"):
            learnt(low_pass=low_pass)


def test_learning_refuses_images_of_another_range_or_layout():
    for images, words in (
        (IMAGES * 255, "pixels in"),
        (IMAGES.double(), "float64"),
        (torch.full_like(IMAGES, torch.nan), "pixels in"),
        (IMAGES.permute(0, 2, 3, 1).contiguous(), r"images \(b, 3, H, W\)"),
        (IMAGES[..., :8], "of 9 pixels at least"),
    ):
        with pytest.raises(InputError, match=words):
            learnt(1, images=lambda rows, images=images: images[torch.from_numpy(rows)])


def test_bad_arguments_are_named():
    for options, words in (
        ({"steps": 0}, "steps 0"),
        ({"count": 0}, "count is 0"),
        ({"batch": 0}, "batch 0"),
        ({"forgetting": -1.0}, "forgetting is -1"),
        ({"method": "ista"}, "method 'ista'"),
    ):
        with pytest.raises(ConfigError, match=words):
            learnt(**options)
    with pytest.raises(ConfigError, match="size 0"):
        begin(size=0)
    state = begin(**SMALL)
    with pytest.raises(InputError, match="learning state"):
        learnt(1, Learning(state.filters, state.gram[:2], state.cross, 0))
