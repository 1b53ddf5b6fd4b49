"""Answers by fresh noise of as many draws as it takes: those of all draws, and stops only beyond doubt."""

import numpy as np
import pytest
import torch

from nndefense.certificates.base import Gallery, margins, nearest_label, split
from nndefense.certificates.bounds import clopper_pearson_lower, vector_error
from nndefense.core.errors import ConfigError
from nndefense.evaluation.decisions import DOUBT, FIRST, decide
from nndefense.evaluation.guarded import smoothed_answers
from nndefense.models.smoothing import noisy_embeddings

from .attack_cases import draw_images
from .retrieval_cases import SIDE, Curve, Ridge, a_gallery, away, opposite

SIGMA = 0.25


def all_draws(embedding, images, rows, most, seed=3, sigma=SIGMA):
    found = {place: [] for place in range(len(images))}
    for place, _, values in noisy_embeddings(embedding, images, rows, count=most, sigma=sigma, seed=seed):
        found[place].append(values)
    return [np.concatenate(own) for own in found.values()]


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_decisions_agree_with_those_of_all_draws_and_stop_early_only_beyond_doubt(rule):
    embedding, gallery, most = Curve(), a_gallery(), 2000
    images, _ = draw_images(30, SIDE, seed=4)
    rows = np.arange(30) * 5
    options = {"sigma": 0.05, "seed": 3, "most": most}
    classes, used = decide(embedding, images, rows, gallery, rule, **options)
    draws = all_draws(embedding, images, rows, most, sigma=0.05)
    expected = smoothed_answers([(own[:100], own[100:]) for own in draws], gallery)[rule]
    np.testing.assert_array_equal(classes, expected)
    assert set(used.tolist()) <= {most, *(FIRST * 2**doubled for doubled in range(8))}
    assert len(set(used.tolist()) | {most}) > 3
    for own, label, count in zip(draws, classes, used, strict=True):
        looks = [drawn for doubled in range(8) if (drawn := FIRST * 2**doubled) <= count]
        certain = [beyond_doubt(own[:drawn].astype(np.float64), label, gallery, rule) for drawn in looks]
        assert not any(certain[:-1])
        assert certain[-1] == (count < most)


def beyond_doubt(draws, label, gallery, rule):
    if rule == "vote":
        votes = np.count_nonzero(nearest_label(draws, gallery) == label)
        return clopper_pearson_lower(votes, len(draws), DOUBT) > 0.5
    mean = draws.mean(axis=0)
    if nearest_label(mean[None], gallery)[0] != label:
        return False
    margin = margins(mean, *split(label, gallery)).max(axis=0).min()
    return margin > vector_error(np.linalg.norm(mean), len(draws), DOUBT)


@pytest.mark.parametrize("rule", ["mean", "vote"])
def test_decisions_do_not_depend_on_other_images_or_on_the_batch(rule):
    ridge = Ridge()
    images, rows = away([-0.5, 0.02, 0.7, -0.01], ridge.direction), np.array([3, 8, 1, 2])
    options = {"sigma": SIGMA, "seed": 3, "most": 1100}
    classes, used = decide(ridge, images, rows, opposite(), rule, **options)
    assert classes.tolist()[::2] == [0, 1]
    assert used.tolist() == [FIRST, 1100, FIRST, 1100]
    for place in range(4):
        own = decide(ridge, images[[place]], rows[[place]], opposite(), rule, batch=60, **options)
        assert (own[0][0], own[1][0]) == (classes[place], used[place])
    other, _ = decide(ridge, away([0.0] * 40, ridge.direction), np.arange(40), opposite(), rule, **options)
    assert 5 < other.sum() < 35


def test_what_nothing_can_decide_takes_all_draws_and_what_nothing_can_change_the_fewest():
    ridge = Ridge()
    images, rows = away([0.5], ridge.direction), np.zeros(1, dtype=int)
    common = {"sigma": SIGMA, "seed": 3, "most": 700}
    twins = Gallery(np.array([[0.5], [0.5]]), np.array([1, 2]))
    assert [one.tolist() for one in decide(ridge, images, rows, twins, "mean", **common)] == [[1], [700]]
    alone = Gallery(np.array([[-0.5], [0.5]]), np.array([4, 4]))
    assert [one.tolist() for one in decide(ridge, images, rows, alone, "mean", **common)] == [[4], [FIRST]]
    few = decide(ridge, images, rows, opposite(), "vote", **(common | {"most": 30}))
    assert [one.tolist() for one in few] == [[1], [30]]


def test_unknown_rules_are_named():
    with pytest.raises(ConfigError, match="rule 'base' is unknown; allowed: mean, vote"):
        decide(Ridge(), torch.zeros(1, 3, SIDE, SIDE), np.zeros(1), opposite(), "base", sigma=0.1, seed=1, most=5)
