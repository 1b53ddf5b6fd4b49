"""Attacks on retrieval where the true distances are known: what breaks, what never may, and answers by fresh noise."""

import numpy as np
import pytest
import torch

from nndefense.attacks.metric import RULES, Target, attack_retrieval, beyond_bisector
from nndefense.attacks.region import TOLERANCE, LinfRegion, l2_region, region_of
from nndefense.axes.ball import LINF, RAW, STANDARDIZED
from nndefense.certificates import CERTIFICATES
from nndefense.certificates.base import Gallery, nearest_label
from nndefense.core.errors import ConfigError, InputError
from nndefense.evaluation.breaking import Breaker
from nndefense.models.smoothing import noisy_embeddings

from .attack_cases import MEAN, STD, draw_images
from .retrieval_cases import PIXELS, SIDE, Curve, Ridge, a_gallery, away, opposite

SIGMA = 0.25
each_rule = pytest.mark.parametrize("rule", RULES)


def target(embed, gallery, rule, draws=1, dtype=torch.float32, sigma=SIGMA):
    vectors = torch.from_numpy(gallery.vectors).to(dtype)
    return Target(embed, vectors, torch.from_numpy(gallery.labels), rule, sigma, draws)


def breaker(embedding, gallery, rule, **options):
    common = {"sigma": SIGMA, "steps": 15, "draws": 64, "fresh": 10_000, "seed": 5, "batch": 1000, "device": "cpu"}
    return Breaker(embedding=embedding, gallery=gallery, rule=rule, **common | options)


def l2(images, others):
    return (images.double() - others.double()).flatten(1).norm(dim=1)


# -- the loss


def test_loss_is_the_distance_from_the_bisector_of_the_nearest_vectors():
    rng = np.random.default_rng(1)
    points, vectors, owners = rng.random((40, 5)), rng.random((30, 5)), rng.integers(0, 4, 30)
    labels = rng.integers(0, 4, 40)
    found = beyond_bisector(*map(torch.from_numpy, (points, labels, vectors, owners)))
    for point, label, value in zip(points, labels, found.tolist(), strict=True):
        ours, other = (
            min(vectors[side], key=lambda vector: np.linalg.norm(vector - point))
            for side in (owners == label, owners != label)
        )
        normal = (other - ours) / np.linalg.norm(other - ours)
        assert value == pytest.approx(normal @ (point - (ours + other) / 2), abs=1e-9)
    answers = nearest_label(points, Gallery(vectors, owners))
    np.testing.assert_array_equal(found.numpy() > 0, answers != labels)


def test_loss_has_a_slope_behind_the_right_vector():
    """Where both distances grow alike."""
    points = torch.tensor([[-0.9], [-0.6]], requires_grad=True)
    vectors, owners = torch.tensor([[-0.5], [0.5]]), torch.tensor([0, 1])
    found = beyond_bisector(points, torch.tensor([0, 0]), vectors, owners)
    torch.testing.assert_close(found, torch.tensor([-0.9, -0.6]))
    torch.testing.assert_close(torch.autograd.grad(found.sum(), points)[0], torch.ones(2, 1))


def test_loss_without_a_right_or_without_a_wrong_vector_is_constant():
    points = torch.rand(2, 3).requires_grad_()
    vectors = torch.rand(4, 3)
    missing = beyond_bisector(points, torch.tensor([7, 0]), vectors, torch.tensor([0, 0, 1, 1]))
    assert missing[0] == 1
    alone = beyond_bisector(points, torch.tensor([0, 1]), vectors, torch.zeros(4, dtype=torch.int64))
    assert alone.tolist() == [-1, 1]
    twins = beyond_bisector(points, torch.tensor([0, 0]), vectors[[0, 0]], torch.tensor([0, 1]))
    assert twins.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad((missing + alone + twins).sum(), points)
    assert torch.equal(gradient[0], torch.zeros(3))
    assert gradient[1].abs().sum() > 0


@each_rule
def test_gradient_agrees_with_finite_differences(rule):
    images, labels = draw_images(4, SIDE, seed=1)
    images = images.double().requires_grad_()
    one = target(Curve(), a_gallery(), rule, draws=3, dtype=torch.double, sigma=0.1)

    def loss(at):
        return one.loss(at, labels, torch.Generator().manual_seed(8))

    (gradient,) = torch.autograd.grad(loss(images).sum(), images)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(4), dtype=torch.double)
    step = 1e-6 * direction
    with torch.no_grad():
        slopes = (loss(images + step) - loss(images - step)) / 2e-6
    torch.testing.assert_close((gradient * direction).flatten(1).sum(dim=1), slopes, rtol=1e-5, atol=1e-6)
    assert slopes.abs().min() > 1e-4


def test_loss_is_above_zero_just_where_the_decision_is_broken():
    ridge = Ridge()
    images = away([-0.6, -0.3, 0.3, 0.6], ridge.direction)
    for rule in RULES:
        one = target(ridge, opposite(), rule, draws=2000)
        right = one.loss(images, torch.tensor([0, 0, 1, 1]), torch.Generator().manual_seed(1))
        wrong = one.loss(images, torch.tensor([1, 1, 0, 0]), torch.Generator().manual_seed(1))
        assert (right < 0).all()
        torch.testing.assert_close(wrong, -right)


def test_vote_and_mean_can_differ():
    """Most copies on one side of the bisector, the others far on the other side."""

    def embed(images):
        return torch.where(images.flatten(1)[:, :1] > 0.6, 1.0, -0.2) + 0 * images.flatten(1)[:, :1]

    images = torch.full((1, 3, SIDE, SIDE), 0.5)
    share, labels = 1 - 0.655, torch.tensor([0])
    values = {
        rule: float(target(embed, opposite(), rule, draws=4000).loss(images, labels, torch.Generator().manual_seed(1)))
        for rule in RULES
    }
    assert -0.2 * (1 - share) + share > 0
    assert values["base"] < 0
    assert values["vote"] < 0
    assert values["mean"] > 0


def test_unknown_rules_are_named():
    with pytest.raises(ConfigError, match="rule 'median' is unknown; allowed: base, mean, vote"):
        target(Ridge(), opposite(), "median")


# -- the attack


REGIONS = {
    "l2": lambda images: l2_region(images, [0.1, 0.5, 2.0, 0.0]),
    "raw01": lambda images: region_of(RAW, None, images, 0.06),
    "standardized": lambda images: region_of(STANDARDIZED, (MEAN, STD), images, 0.06),
    "linf": lambda images: region_of(LINF, None, images, 0.03),
}


@each_rule
@pytest.mark.parametrize("name", REGIONS)
def test_attacked_images_stay_in_their_region_and_the_loss_grows(rule, name):
    images, labels = draw_images(4, SIDE, seed=2)
    images[0] = (images[0] > 0.5).float()
    region = REGIONS[name](images)
    one = target(Curve(), a_gallery(), rule, draws=40, sigma=0.1)
    found = attack_retrieval(one, region, labels, steps=10, seed=1)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    if isinstance(region, LinfRegion):
        distance = (found.double() - images.double()).abs().flatten(1).amax(dim=1)
    else:
        distance = ((found.double() - images.double()) / region.space.scale(images.double())).flatten(1).norm(dim=1)
    assert (distance <= region.radius * (1 + TOLERANCE)).all()
    assert (distance >= 0.8 * region.radius).sum() >= 2
    judge = target(Curve(), a_gallery(), rule, draws=4000, sigma=0.1)
    before, after = (judge.loss(at, labels, torch.Generator().manual_seed(9)) for at in (images, found))
    assert (after >= before - 1e-6).all()
    assert (after - before)[distance > 0].min() > 0.01


def test_radii_are_one_for_all_or_one_of_each_image():
    images, _ = draw_images(3, SIDE)
    np.testing.assert_array_equal(l2_region(images, 0.5).radius, [0.5] * 3)
    np.testing.assert_array_equal(l2_region(images, np.array([0.1, 0.2, 0.3])).radius, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(l2_region(images, [0.1, 0.2, 0.3]).at(torch.tensor([2, 0])).radius, [0.3, 0.1])
    for radius, words in (([0.1, 0.2], "2 radii"), (-1.0, "the smallest -1"), ([0.1, float("nan"), 0.1], "nan")):
        with pytest.raises(InputError, match=f"{words}.*; allowed: one number >= 0, or 3, one of each image"):
            l2_region(images, radius)


def test_radius_zero_returns_the_images_bit_for_bit():
    images, labels = draw_images(4, SIDE, seed=2)
    for rule in RULES:
        found = attack_retrieval(target(Curve(), a_gallery(), rule, 4), l2_region(images, 0.0), labels, steps=3, seed=1)
        assert torch.equal(found, images)


def test_on_a_linear_embedding_what_breaks_is_just_what_is_beyond_the_bisector():
    """Against the true distance: the margin in the embedding over the length of the bisector's normal in pixels."""
    draw = torch.Generator().manual_seed(6)
    weight = torch.randn(PIXELS, 3, generator=draw)
    images = 0.4 + 0.2 * torch.rand(12, 3, SIDE, SIDE, generator=draw)
    points = images.flatten(1) @ weight
    offsets = np.array([[1, 0, 0], [0, 1, 0.5]])
    gallery = Gallery(points.double().numpy().mean(axis=0) + offsets, np.array([0, 1]))
    labels = nearest_label(points.double().numpy(), gallery)
    assert 0 < labels.sum() < 12
    apart = gallery.vectors[1] - gallery.vectors[0]
    middle = gallery.vectors.mean(axis=0)
    distance = np.abs((points.double().numpy() - middle) @ apart) / np.linalg.norm(weight.double().numpy() @ apart)
    embed, right = (lambda at: at.flatten(1) @ weight), torch.from_numpy(labels)
    for share, broken in ((1.03, True), (0.99, False)):
        region = l2_region(images, share * distance)
        found = attack_retrieval(target(embed, gallery, "base"), region, right, steps=30, seed=1)
        answers = nearest_label(embed(found).double().numpy(), gallery)
        np.testing.assert_array_equal(answers != labels, broken)


def test_a_start_is_never_given_up_for_less_and_is_brought_into_the_region():
    images, labels = draw_images(6, SIDE, seed=3)
    one = target(Curve(), a_gallery(), "base")
    narrow = attack_retrieval(one, l2_region(images, 0.2), labels, steps=8, seed=1)
    wide = attack_retrieval(one, l2_region(images, 0.4), labels, steps=2, seed=1, start=narrow)
    losses = [one.loss(at, labels, torch.Generator()) for at in (images, narrow, wide)]
    assert (losses[1] > losses[0]).all()
    assert (losses[2] >= losses[1] - 1e-5).all()
    inside = attack_retrieval(one, l2_region(images, 0.1), labels, steps=1, seed=1, start=1 - images)
    assert (l2(inside, images) <= 0.1 * (1 + TOLERANCE)).all()
    inside = attack_retrieval(one, LinfRegion(images, 0.1), labels, steps=1, seed=1, start=1 - images)
    assert ((inside - images).abs() <= 0.1 + 1e-6).all()


@each_rule
def test_attacks_are_functions_of_their_seed(rule):
    images, labels = draw_images(5, SIDE, seed=2)
    one = target(Curve(), a_gallery(), rule, draws=4)

    def attacked(seed, **options):
        return attack_retrieval(one, l2_region(images, 0.5), labels, steps=4, seed=seed, **options)

    assert torch.equal(attacked(1), attacked(1))
    assert torch.equal(attacked(1), attacked(2)) == (rule == "base")
    # Without noise no image depends on the others of a batch but for rounding.
    if rule == "base":
        torch.testing.assert_close(attacked(1), attacked(1, batch=2))


def test_a_forward_pass_sees_about_a_batch_of_copies():
    seen = []

    def embed(images):
        seen.append(len(images))
        return Curve()(images)

    images, labels = draw_images(5, SIDE)
    attack_retrieval(target(embed, a_gallery(), "mean", 8), l2_region(images, 0.5), labels, steps=2, seed=1, batch=20)
    assert set(seen) == {16, 8}
    seen.clear()
    attack_retrieval(target(embed, a_gallery(), "base"), l2_region(images, 0.5), labels, steps=1, seed=1, batch=3)
    assert set(seen) == {3, 2}


# -- certified answers


@pytest.mark.parametrize(
    ("rule", "name"), [("mean", "cdf"), ("mean", "gaussian"), ("mean", "linear"), ("vote", "vote")]
)
def test_no_attack_within_a_certified_radius_changes_the_answer_of_ten_thousand_fresh_draws(rule, name):
    ridge, gallery = Ridge(), opposite()
    distances = np.array([-0.9, -0.6, -0.45, 0.3, 0.4, 0.5, 0.7, 1.0])
    images, rows = away(distances, ridge.direction), np.arange(8)
    certify, classes, radii = CERTIFICATES[name].load(), [], []
    found = noisy_embeddings(ridge, images, rows, count=2100, sigma=SIGMA, seed=1, batch=5000)
    values = {place: [] for place in range(8)}
    for place, _, part in found:
        values[place].append(part)
    for place in range(8):
        draws = np.concatenate(values[place])
        one = certify(draws[:100], draws[100:], gallery, sigma=SIGMA, alpha=1e-3)
        classes.append(one.label)
        radii.append(one.radius)
    classes, radii = np.array(classes), np.array(radii)
    np.testing.assert_array_equal(classes, distances > 0)
    assert (radii < np.abs(distances)).all()
    assert (radii > 0.05).all()
    one = breaker(ridge, gallery, rule)
    attacked = one.attack(images, classes, 0.95 * radii, None)
    np.testing.assert_allclose(l2(attacked, images), 0.95 * radii, rtol=0.02)
    answers, _ = one.decided(attacked, rows)
    np.testing.assert_array_equal(answers, classes)
    # The attack is no weak one: beyond the true distance it breaks all of them.
    attacked = one.attack(images, classes, 1.15 * np.abs(distances), None)
    assert (one.answers(attacked, rows) != classes).all()


def test_an_attack_on_the_base_model_is_asked_without_noise():
    ridge, distances = Ridge(), np.array([-0.4, 0.4])
    images, rows = away(distances, ridge.direction), np.arange(2)
    one = breaker(ridge, opposite(), "base")
    answers, draws = one.decided(images, rows)
    assert (answers.tolist(), draws.tolist()) == ([0, 1], [1, 1])
    assert one.answers(one.attack(images, answers, 0.39, None), rows).tolist() == [0, 1]
    assert one.answers(one.attack(images, answers, 0.41, None), rows).tolist() == [1, 0]


def test_answers_to_attacked_images_are_by_noise_of_the_run():
    ridge = Ridge()
    images, rows = away([0.0] * 40, ridge.direction), np.arange(40)
    first, again, other = (
        breaker(ridge, opposite(), rule, fresh=100, seed=seed).answers(images, rows)
        for rule, seed in (("vote", 5), ("vote", 5), ("vote", 6))
    )
    np.testing.assert_array_equal(first, again)
    assert 5 < np.count_nonzero(first != other) < 35
