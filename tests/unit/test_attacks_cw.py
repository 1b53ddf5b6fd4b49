"""The Carlini-Wagner search against the known distance to a plane, and against foolbox."""

import pytest
import torch
from torch import nn

from nndefense.attacks.cw import CW, margin
from nndefense.attacks.space import l2_norms
from nndefense.axes.ball import LINF, RAW
from nndefense.core.errors import ConfigError
from tests.unit.attack_cases import (
    MEAN,
    SPACES,
    STD,
    Linear,
    both_l2_balls,
    draw_images,
    make_problem,
    run,
    trained_net,
)

# Small steps for images that lie close to the plane.
FINE = {"binary_search_steps": 7, "steps": 200, "learning_rate": 0.001}


def linear_case(ball, lead=0.5):
    """Images at most `lead` on the right side of a linear model's plane, far from the box, and their distances."""
    images, _ = draw_images(batch=6, low=0.45, high=0.55)
    labels = torch.zeros(6, dtype=torch.int64)
    model = Linear().eval()
    with torch.no_grad():
        score = (images * model.weight).sum(dim=(1, 2, 3))
    model.bias = -(score.max().item() + lead / 2)
    normal = (model.weight.detach() * SPACES[ball].scale(images)[0]).flatten()
    return model, images, labels, normal, -(score + model.bias) / normal.norm()


@both_l2_balls
def test_the_found_perturbation_is_the_shortest_way_to_the_plane(ball):
    model, images, labels, normal, distance = linear_case(ball)
    problem = make_problem(model, images, labels, ball=ball)
    delta, found = CW(**FINE).smallest(problem)
    assert found.all()
    norm = l2_norms(delta)
    assert (norm >= distance * (1 - 1e-4)).all()
    assert (norm <= distance * 1.01).all()
    cosine = (delta.flatten(1) @ normal) / norm / normal.norm()
    assert (cosine > 0.99).all()


@both_l2_balls
def test_the_whole_budget_is_spent_along_it(ball):
    model, images, labels, normal, _ = linear_case(ball)
    result = run(CW(**FINE), model, images, labels, epsilon=0.02, ball=ball)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.02), rtol=1e-5, atol=0)
    delta = (result.images - images) / SPACES[ball].scale(images)
    assert ((delta.flatten(1) @ normal) / l2_norms(delta) / normal.norm() > 0.995).all()


def test_confidence_makes_it_longer_by_the_lead_it_asks_for():
    model, images, labels, normal, distance = linear_case(RAW)
    problem = make_problem(model, images, labels)
    delta, found = CW(**FINE, confidence=1.0).smallest(problem)
    assert found.all()
    # The margin is 2 |w| times the distance to the plane.
    wanted = distance + 0.5 / normal.norm()
    assert (l2_norms(delta) >= wanted * (1 - 1e-4)).all()
    assert (l2_norms(delta) <= wanted * 1.01).all()


def test_norms_equal_those_of_foolbox():
    foolbox = pytest.importorskip("foolbox")
    net, images, labels = trained_net()
    options = {"binary_search_steps": 5, "steps": 50}
    theirs = foolbox.attacks.L2CarliniWagnerAttack(**options, initial_const=0.01, stepsize=0.01, abort_early=False)
    _, adversarial, success = theirs(
        foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilons=None
    )
    delta, found = CW(**options, initial_constant=0.01).smallest(make_problem(net, images, labels))
    right = net(images).argmax(1) == labels
    assert torch.equal(found, success)
    ours, norms = l2_norms(delta)[right], l2_norms(adversarial - images)[right]
    torch.testing.assert_close(ours.mean(), norms.mean(), rtol=0.02, atol=0)
    torch.testing.assert_close(ours, norms, rtol=0.1, atol=0)


def test_found_perturbations_change_the_class():
    net, images, labels = trained_net()
    delta, found = CW(binary_search_steps=3, steps=30).smallest(make_problem(net, images, labels))
    assert found.any()
    # The search starts from a copy of the image that is off by float32 rounding in tanh space.
    assert (margin(net(images + 1.001 * delta), labels)[found] < 0).all()


def test_where_every_constant_fails_the_last_iterate_is_scaled():
    net, images, labels = trained_net()
    right = net(images).argmax(1) == labels
    images, labels = images[right], labels[right]
    weak = CW(binary_search_steps=1, steps=2)
    _, found = weak.smallest(make_problem(net, images, labels))
    assert not found.any()
    result = run(weak, net, images, labels)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.1), rtol=1e-5, atol=0)
    assert (margin(net(result.images), labels) < margin(net(images), labels)).all()


def test_images_that_are_wrong_already_become_more_wrong():
    net, images, labels = trained_net()
    wrong = (labels + 1) % 3
    problem = make_problem(net, images, wrong)
    delta, found = CW(binary_search_steps=1, steps=5).smallest(problem)
    already = net(images).argmax(1) != wrong
    assert found[already].all()
    assert not delta[already].any()
    result = run(CW(binary_search_steps=1, steps=5), net, images, wrong, epsilon=0.02)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.02), rtol=1e-5, atol=0)
    before, after = (margin(net(points), wrong)[already] for points in (images, result.images))
    assert (after < before).all()


def test_a_model_without_gradient_leaves_the_images_and_says_so():
    images, labels = draw_images()
    for logits in (torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]), torch.full((3,), float("nan"))):
        result = run(
            CW(binary_search_steps=2, steps=3),
            lambda x, logits=logits: logits + 0 * x.sum(dim=(2, 3)),
            images,
            labels,
        )
        assert torch.equal(result.images, images)
        assert result.saturated.all()


def test_margin():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-5.0, -5.0, -9.0]])
    torch.testing.assert_close(margin(logits, torch.tensor([0, 1, 0])), torch.tensor([1.0, -2.0, 0.0]))


def test_passes_are_counted():
    class Counting(nn.Module):
        passes = 0

        def forward(self, images):
            self.passes += 1
            return images.flatten(1)[:, :3] * 10

    images, _ = draw_images()
    labels = images.flatten(1)[:, :3].argmax(1)
    model = Counting().eval()
    run(CW(binary_search_steps=3, steps=7), model, images, labels)
    assert model.passes == 3 * 7 + 2


@both_l2_balls
def test_a_direction_found_once_serves_every_budget(ball):
    model, images, labels, _, _ = linear_case(ball)
    rows = torch.arange(len(images))
    attack = CW(binary_search_steps=2, steps=20)
    direction = attack.find_direction(model, images, labels, ball=ball, rows=rows, statistics=(MEAN, STD))
    searched = model.images_seen
    for epsilon in (0.01, 0.05):
        options = {"epsilon": epsilon, "ball": ball, "rows": rows, "seed": 1, "statistics": (MEAN, STD)}
        alone = attack.run(model, images, labels, **options)
        before = model.images_seen
        shared = attack.run(model, images, labels, **options, context={"direction": direction})
        assert torch.equal(alone.images, shared.images)
        assert model.images_seen - before < searched / 5


def test_directions_in_the_cube_are_refused():
    images, labels = draw_images()
    with pytest.raises(ConfigError, match="CW has no form in ball linf; allowed: raw01, standardized"):
        CW().find_direction(Linear().eval(), images, labels % 2, ball=LINF, rows=torch.arange(4))
