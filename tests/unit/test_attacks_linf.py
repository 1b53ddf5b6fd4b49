"""l-infinity attacks: the ball and the box, a linear model, other libraries, and what they leave alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nndefense.attacks.linf import fgsm_linf, ifgsm_linf, loss_gradient, random_fgsm_linf, random_start
from nndefense.errors import ConfigError
from tests.unit.attack_cases import Curved, Linear, draw_images, trained_net

EPSILON, STEPS = 0.03, 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def run(name, model, images, labels, epsilon, seed=0):
    return {
        "fgsm": lambda: fgsm_linf(model, images, labels, epsilon),
        "random_fgsm": lambda: random_fgsm_linf(model, images, labels, epsilon, generator(seed)),
        "ifgsm": lambda: ifgsm_linf(model, images, labels, epsilon, STEPS),
        "pgd": lambda: ifgsm_linf(
            model,
            images,
            labels,
            epsilon,
            STEPS,
            step=2.5 * epsilon / STEPS,
            start=random_start(images, epsilon, generator(seed)),
        ),
    }[name]()


ATTACKS = ("fgsm", "random_fgsm", "ifgsm", "pgd")


def loss(model, images, labels):
    with torch.no_grad():
        return nn.functional.cross_entropy(model(images), labels)


@pytest.mark.parametrize("name", ATTACKS)
@settings(max_examples=20, deadline=None)
@given(epsilon=st.floats(0, 1), seed=st.integers(0, 99), spread=st.sampled_from([0.0, 0.5, 1.0]))
def test_result_stays_in_the_ball_and_in_the_box(name, epsilon, seed, spread):
    images, labels = draw_images(seed=seed, low=0.5 - spread / 2, high=0.5 + spread / 2)
    attacked = run(name, Curved(seed=seed), images, labels, epsilon, seed)
    assert attacked.shape == images.shape
    assert not attacked.requires_grad
    assert (attacked - images).abs().max() <= epsilon + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1


@pytest.mark.parametrize("name", ATTACKS)
def test_budget_zero_returns_the_images_bit_for_bit_in_new_memory(name):
    images, labels = draw_images()
    attacked = run(name, Curved(), images, labels, 0.0)
    assert torch.equal(attacked, images)
    assert attacked.data_ptr() != images.data_ptr()


def test_a_far_start_is_projected():
    images, labels = draw_images()
    still = ifgsm_linf(Curved(), images, labels, EPSILON, 1, step=0.0, start=torch.full_like(images, 7.0))
    torch.testing.assert_close(still, (images + EPSILON).clamp(max=1), rtol=0, atol=0)


def test_linear_model_is_attacked_along_the_signs_of_its_weights():
    model = Linear()
    images, _ = draw_images(low=0.2, high=0.8)
    labels = torch.tensor([0, 1, 0, 1])
    direction = torch.where(labels == 0, 1.0, -1.0)[:, None, None, None] * model.weight.detach().sign()
    torch.testing.assert_close(fgsm_linf(model, images, labels, 0.1), images + 0.1 * direction, rtol=0, atol=1e-7)
    # Every step of the iterated attack goes the same way, and the sum of the steps is the whole budget.
    torch.testing.assert_close(ifgsm_linf(model, images, labels, 0.1, 4), images + 0.1 * direction, rtol=0, atol=1e-6)


def test_half_of_the_randomised_budget_is_random_and_half_follows_the_gradient():
    model = Linear()
    images, _ = draw_images(low=0.2, high=0.8)
    labels = torch.tensor([0, 0, 0, 0])
    moved = (random_fgsm_linf(model, images, labels, 0.1, generator()) - images) / 0.05
    along = moved * model.weight.detach().sign()
    # Half the signs agree with the gradient's: 2 where they do, 0 where they do not.
    torch.testing.assert_close(along.round(), along, rtol=0, atol=1e-4)
    assert set(along.round().unique().tolist()) == {0.0, 2.0}
    assert 0.4 < (along > 1).float().mean() < 0.6


def test_more_steps_raise_the_loss_further():
    net, images, labels = trained_net()
    clean, one, many = (
        loss(net, x, labels)
        for x in (images, fgsm_linf(net, images, labels, EPSILON), run("ifgsm", net, images, labels, EPSILON))
    )
    assert clean < one <= many


def test_same_images_as_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    net, images, labels = trained_net()
    theirs = torchattacks.FGSM(net, eps=EPSILON)(images, labels)
    torch.testing.assert_close(fgsm_linf(net, images, labels, EPSILON), theirs, rtol=0, atol=1e-6)
    step = 2.5 * EPSILON / STEPS
    theirs = torchattacks.PGD(net, eps=EPSILON, alpha=step, steps=STEPS, random_start=False)(images, labels)
    torch.testing.assert_close(ifgsm_linf(net, images, labels, EPSILON, STEPS, step=step), theirs, rtol=0, atol=1e-6)


def test_random_start_is_uniform_in_the_ball():
    images = torch.full((8, 3, 32, 32), 0.5)
    offsets = (random_start(images, 0.2, generator()) - images) / 0.2
    shares = torch.histc(offsets, bins=10, min=-1, max=1) / offsets.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1), rtol=0, atol=0.01)


def test_same_generator_state_gives_the_same_images():
    images, labels = draw_images()
    for name in ("random_fgsm", "pgd"):
        first, again, other = (run(name, Curved(), images, labels, EPSILON, seed) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


@pytest.mark.parametrize("training", [False, True])
def test_weights_and_mode_are_left_alone(training):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)).train(training)
    net[0].weight.requires_grad_(False)
    images, labels = draw_images()
    with torch.no_grad():
        attacked = run("pgd", net, images, labels, EPSILON)
    assert not torch.equal(attacked, images)
    assert net.training == training
    assert [parameter.requires_grad for parameter in net.parameters()] == [False] + [True] * 5
    assert all(parameter.grad is None for parameter in net.parameters())
    assert int(net[1].num_batches_tracked) == (STEPS if training else 0)


def test_any_callable_is_a_model_and_a_gradient_that_is_no_number_counts_as_zero():
    def model(images):
        flat = images.flatten(1)[:, :2]
        return torch.cat([flat[:1] * float("nan"), flat[1:]])

    images, labels = draw_images(low=0.2, high=0.8)
    gradient = loss_gradient(model, images, labels % 2)
    assert torch.isfinite(gradient).all()
    attacked = fgsm_linf(model, images, labels % 2, EPSILON)
    assert torch.equal(attacked[0], images[0])
    assert not torch.equal(attacked[1], images[1])


@pytest.mark.parametrize(("epsilon", "steps", "step"), [(-0.1, 1, None), (float("nan"), 1, None), (0.1, 0, None)])
def test_options_out_of_range_are_refused(epsilon, steps, step):
    images, labels = draw_images()
    with pytest.raises(ConfigError, match="allowed"):
        ifgsm_linf(Curved(), images, labels, epsilon, steps, step)
