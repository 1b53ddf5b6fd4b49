"""I-FGSM: steps that cannot leave the ball, then the whole budget."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nndefense.attacks.fgsm import FGSM
from nndefense.attacks.ifgsm import IFGSM
from nndefense.attacks.space import l2_norms
from nndefense.axes.ball import LINF, RAW, STANDARDIZED
from tests.unit.attack_cases import Curved, Linear, both_l2_balls, draw_images, make_problem, run, trained_net


@both_l2_balls
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 12), epsilon=st.sampled_from([1e-3, 0.06, 0.5, 2.0]))
def test_steps_never_leave_the_ball_or_the_box(ball, seed, steps, epsilon):
    images, labels = draw_images(seed=seed)
    problem = make_problem(Curved(seed=seed).eval(), images, labels, epsilon=epsilon, ball=ball)
    z = IFGSM(steps=steps).walk(problem)
    assert (l2_norms(z.double() - problem.region.center.double()) <= problem.region.radius + 1e-5).all()
    assert ((z >= problem.region.low) & (z <= problem.region.high)).all()


@pytest.mark.parametrize("ball", [RAW, STANDARDIZED, LINF], ids=str)
@pytest.mark.parametrize("steps", [1, 7])
def test_steps_of_a_linear_model_add_up_to_the_single_step(ball, steps):
    images, _ = draw_images(low=0.4, high=0.6)
    labels = torch.zeros(4, dtype=torch.int64)
    model = Linear().eval()
    problem = make_problem(model, images, labels, epsilon=0.03, ball=ball)
    moved = (IFGSM(steps=steps).walk(problem) - problem.region.center).double()
    length = moved.abs().amax(dim=(1, 2, 3)) if ball == LINF else l2_norms(moved)
    torch.testing.assert_close(length, problem.region.radius, rtol=1e-4, atol=0)
    many = run(IFGSM(steps=steps), model, images, labels, epsilon=0.03, ball=ball)
    single = run(FGSM(), model, images, labels, epsilon=0.03, ball=ball)
    torch.testing.assert_close(many.images, single.images, rtol=0, atol=1e-6)


def test_the_whole_budget_is_spent_where_the_steps_turn():
    images, labels = draw_images(low=0.3, high=0.7)
    model = Curved(seed=3).eval()
    with torch.no_grad():
        model.first.mul_(20)
    problem = make_problem(model, images, labels)
    walked = l2_norms(IFGSM().walk(problem).double() - problem.region.center.double())
    assert (walked < 0.99 * problem.region.radius).any()
    result = run(IFGSM(), model, images, labels)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.1), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("epsilon", "steps"), [(0.04, 5), (0.5, 3)])
def test_in_the_cube_it_equals_a_few_lines(epsilon, steps):
    net, images, labels = trained_net()
    current = images.clone()
    for _ in range(steps):
        current.requires_grad_()
        loss = nn.functional.cross_entropy(net(current), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, current)
        current = (current.detach() + epsilon / steps * gradient.sign()).clamp(0, 1)
    ours = run(IFGSM(steps=steps), net, images, labels, epsilon=epsilon, ball=LINF).images
    torch.testing.assert_close(ours, current, rtol=0, atol=1e-6)


def test_in_the_cube_it_equals_libraries():
    torchattacks, foolbox = pytest.importorskip("torchattacks"), pytest.importorskip("foolbox")
    net, images, labels = trained_net()
    ours = run(IFGSM(steps=5), net, images, labels, epsilon=0.03, ball=LINF).images
    theirs = torchattacks.BIM(net, eps=0.03, alpha=0.03 / 5, steps=5)(images, labels)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    attack = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=0.03 / 5, steps=5, random_start=False)
    _, theirs, _ = attack(foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilons=0.03)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_in_the_cube_more_steps_raise_the_loss_further():
    net, images, labels = trained_net()
    one, many = (run(attack, net, images, labels, epsilon=0.03, ball=LINF) for attack in (FGSM(), IFGSM()))
    assert one.loss_before.mean() < one.loss_after.mean() <= many.loss_after.mean()
