"""Attacks that did nothing: counted where gradients are 0 or images stay where they are, and nowhere else."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks.adaptive import Adaptive
from nndefense.attacks.base import STILL, Attack
from nndefense.attacks.batches import attack_in_batches, summarize
from nndefense.attacks.cascade import Cascade, worst_case
from nndefense.axes.ball import LINF, RAW
from nndefense.defenses.none import NoDefense
from tests.unit.adaptive_cases import ALWAYS, Fake, always, grey, slope
from tests.unit.attack_cases import MEAN, STD, both_l2_balls, make_attack, run, trained_net

balls = pytest.mark.parametrize("ball", [RAW, LINF], ids=str)


class Loud(nn.Module):
    """A network whose logits are a thousand times as large: its softmax is 0 or 1, and has no gradient."""

    def __init__(self, net, factor=1000.0):
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, images):
        return self.factor * self.net(images)


def loud_case(factor=1000.0):
    """The network, images, labels of which one is wrong, and which images are right."""
    net, images, labels = trained_net()
    labels = labels.clone()
    right = net(images).argmax(dim=1) == labels
    wrong = int(right.nonzero()[0])
    labels[wrong] = (labels[wrong] + 1) % 3
    right[wrong] = False
    return Loud(net, factor).eval(), images, labels, right


@dataclass(frozen=True, kw_only=True)
class Step(Attack):
    """Spends a share of the budget along ones, without asking for a gradient."""

    share: float = 0.0

    def perturb(self, problem, restart):
        region = problem.region
        full, _ = region.spend(torch.ones_like(region.center))
        return region.center + self.share * (full - region.center), torch.zeros_like(region.radius).bool()


# -- gradients


@balls
@pytest.mark.parametrize("name", ["pgd", "fgsm", "ifgsm"])
def test_a_saturated_softmax_leaves_every_right_image_idle(name, ball):
    model, images, labels, right = loud_case()
    found = run(make_attack(name), model, images, labels, ball=ball, epsilon=0.06)
    assert right.sum() > 10
    # A random start moves images, and they are none the worse for it.
    assert torch.equal(found.images[right], images[right]) == (name != "pgd")
    assert torch.equal(found.idle, right)


@balls
@pytest.mark.parametrize("name", ["pgd", "fgsm", "ifgsm"])
def test_an_attack_that_has_gradients_is_not_idle(name, ball):
    model, images, labels, _ = loud_case(factor=1.0)
    assert not run(make_attack(name), model, images, labels, ball=ball, epsilon=0.06).idle.any()


def test_one_step_with_a_gradient_is_enough():
    """Black on one side of an edge, a slope on the other: only some random starts see it."""

    class Edge(nn.Module):
        def forward(self, images):
            mean = images.mean(dim=(1, 2, 3))
            return torch.stack([torch.ones_like(mean), 50 * (mean - 0.5).clamp_min(0)], dim=1)

    images = torch.full((40, 3, 4, 4), 0.5)
    labels = torch.zeros(40, dtype=torch.int64)
    few, many = (
        run(make_attack("pgd", steps=1, restarts=count), Edge().eval(), images, labels).idle for count in (1, 6)
    )
    assert 5 < few.sum() < 35
    assert many.sum() < few.sum()
    assert not (many & ~few).any()


def test_budget_zero_and_black_images_are_left_alone_by_design():
    model, images, labels, _ = loud_case()
    assert not run(make_attack("pgd"), model, images, labels, epsilon=0.0).idle.any()
    black = torch.zeros_like(images[:1])
    label = model(black).argmax(dim=1)
    # A share of its norm, which is 0, is no budget.
    assert not run(make_attack("fgsm"), model, black, label).idle.any()
    assert run(make_attack("fgsm"), model, black, label, ball=LINF).idle.all()


# -- images that stay where they are


@both_l2_balls
@pytest.mark.parametrize(("share", "idle"), [(0.0, True), (STILL / 2, True), (2 * STILL, False), (1.0, False)])
def test_an_image_that_hardly_moves_is_idle(ball, share, idle):
    model, images, labels, right = loud_case(1.0)
    images = 0.25 + images / 2
    right = model(images).argmax(dim=1) == labels
    assert 3 < right.sum() < len(right)
    for one in (ball, LINF):
        found = run(Step(share=share), model, images, labels, ball=one, epsilon=0.05)
        assert torch.equal(found.idle, right & idle)
    # Unless one looks, all are right.
    unmeasured = run(Step(share=share), model, images, labels, ball=ball, epsilon=0.05, measure_loss=False)
    assert unmeasured.idle.all() == idle


def test_with_one_radius_for_all_the_share_is_that_of_the_radius():
    images, labels = grey(3)
    # A radius of 2.5, ten times what an image's own norm would give.
    model = Fake(slope(torch.zeros(3, 6, 6), bias=-1.0), always(1.0, 0.0))
    still = run(Step(share=0.9 * STILL), model, images, labels, epsilon=0.05, norm=50.0)
    moved = run(Step(share=1.1 * STILL), model, images, labels, epsilon=0.05, norm=50.0)
    assert still.idle.all()
    assert not moved.idle.any()


# -- attacks through a defence


@pytest.mark.parametrize("name", ["soft_retrieval", "bpda"])
def test_a_climb_without_a_gradient_is_idle_and_one_that_leads_nowhere_is_not(name):
    images, labels = grey(5)
    flat = Fake(slope(torch.zeros(3, 6, 6), bias=-1.0), always(1.0, 0.0))
    assert run(make_attack(name, steps=5), flat, images, labels).idle.all()
    # The exact defence's answer is the same everywhere: what is kept is the image itself.
    tilted = Fake(slope(torch.ones(3, 6, 6), bias=-9.0), always(1.0, 0.0))
    found = run(make_attack(name, steps=5, slack=ALWAYS), tilted, images, labels)
    assert torch.equal(found.images, images)
    assert not found.idle.any()


def test_queries_and_noise_are_never_idle():
    images, labels = grey(5)
    flat = Fake(slope(torch.zeros(3, 6, 6), bias=-1.0), always(1.0, 0.0))
    for name, options in (("square", {"queries": 3}), ("noise", {"tries": 2})):
        attack = make_attack(name, **options)
        assert isinstance(attack, Adaptive)
        assert not run(attack, flat, images, labels).idle.any()


def test_what_a_defence_gets_wrong_without_an_attack_is_not_idle():
    images, labels = grey(4)
    wrong = Fake(slope(torch.zeros(3, 6, 6), bias=-1.0), always(0.0, 1.0))
    assert not run(make_attack("soft_retrieval", steps=3), wrong, images, labels).idle.any()


# -- files and logs


def test_packs_tell_and_the_log_counts():
    model, images, labels, right = loud_case()
    clean = {"images": images.numpy(), "labels": labels.numpy(), "rows": np.arange(len(labels))}
    found = attack_in_batches(
        make_attack("pgd"),
        model,
        clean,
        epsilons=(0.02, 0.06),
        ball=RAW,
        statistics=(MEAN, STD),
        seed=1,
        batch=7,
        context=lambda rows: {},
        on_batch=lambda result: None,
    )
    for member in ("0.02", "0.06"):
        np.testing.assert_array_equal(found[f"{member}/idle"], right.numpy())
    assert f"nothing done to {int(right.sum())} of 24 images" in summarize(found, RAW, 0.06)


@pytest.mark.parametrize(("factor", "idle"), [(1e6, True), (1.0, False)])
def test_a_worst_case_tells_of_images_that_no_attack_did_anything_to(factor, idle):
    model, images, labels, right = loud_case(factor)
    bound = NoDefense().bind(model)
    clean = {"images": images.numpy(), "labels": labels.numpy(), "rows": np.arange(len(labels))}
    cascade = Cascade(bound, clean, RAW, (MEAN, STD), 1, 24, {})
    attacks = {"pgd": make_attack("pgd", steps=2)}
    arrays, _ = worst_case(cascade, attacks, epsilons=(0.001,), stored=lambda *_: (), doubled="pgd", sanity=0.3)
    holds = arrays["0.001/broken_by"] == ""
    assert holds.sum() > 10
    np.testing.assert_array_equal(arrays["0.001/idle"], holds & right.numpy() & idle)
