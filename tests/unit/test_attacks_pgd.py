"""PGD on models whose answer is known, and its side conditions: budget, reproducibility, cost."""

import dataclasses

import pytest
import torch
from torch import nn

from nndefense.attacks.noise import random_cubes, random_offsets
from nndefense.attacks.pgd import PGD
from nndefense.attacks.space import l2_norms
from nndefense.axes.ball import LINF, RAW
from nndefense.core.errors import ConfigError, InputError
from tests.unit.attack_cases import MEAN, SPACES, STD, both_l2_balls, make_attack, trained_net

directions = pytest.mark.parametrize("direction", ["sign", "l2"])


class Linear(nn.Module):
    """Two classes, the loss of class 0 rises with w . x."""

    def __init__(self, size=6):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, size, size, generator=torch.Generator().manual_seed(1)))
        self.images_seen = 0

    def forward(self, images):
        self.images_seen += len(images)
        score = (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([-score, score], dim=1)


def images_and_labels(batch=4, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, size, size, generator=generator), torch.zeros(batch, dtype=torch.int64)


def attack(images, labels, model=None, ball=RAW, epsilon=0.1, rows=None, seed=3, **options):
    extra = {k: options.pop(k) for k in ("measure_loss",) if k in options}
    rows = torch.arange(len(images)) if rows is None else rows
    model = Linear(images.shape[-1]).eval() if model is None else model
    extra |= {"epsilon": epsilon, "ball": ball, "rows": rows, "seed": seed, "statistics": (MEAN, STD)}
    return PGD(**options).run(model, images, labels, **extra)


@both_l2_balls
@directions
@pytest.mark.parametrize("epsilon", [1e-4, 0.06, 0.5, 5.0])
def test_budget_box_and_measured_deltas(ball, direction, epsilon):
    images, labels = images_and_labels()
    result = attack(images, labels, ball=ball, epsilon=epsilon, direction=direction)
    assert (result.delta <= epsilon * (1 + 1e-5)).all()
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    assert torch.equal(result.delta, SPACES[ball].delta(images, result.images))
    for measured, space in SPACES.items():
        assert torch.equal(result.deltas[str(measured)], space.delta(images, result.images))
    change = (result.images.double() - images.double()).abs()
    assert torch.equal(result.deltas["linf"], change.flatten(1).amax(dim=1))
    if epsilon > 0.01:
        assert (result.loss_after > result.loss_before).all()


def linear_case(ball, **options):
    """PGD on the linear model, far from the box: each image's rise of the score, and the budget's radius by z."""
    images, labels = images_and_labels(batch=8)
    images = 0.4 + 0.2 * images
    model = Linear().eval()
    result = attack(images, labels, model=model, ball=ball, epsilon=0.02, **options)
    scores = [(x.double() * model.weight.double()).sum(dim=(1, 2, 3)).detach() for x in (images, result.images)]
    gradient = (model.weight.detach() * SPACES[ball].scale(images)[0]).double().flatten()
    return scores[1] - scores[0], 0.02 * SPACES[ball].norms(images), gradient


@both_l2_balls
def test_sign_steps_reach_the_single_sign_step_of_a_linear_model(ball):
    # FGSM moves every pixel of z by R / sqrt(d) along the sign: the score rises by R * ||g||_1 / sqrt(d).
    rise, radius, gradient = linear_case(ball, random_start=False)
    single = radius * gradient.abs().sum() / len(gradient) ** 0.5
    torch.testing.assert_close(rise, single, rtol=1e-4, atol=0)
    # Ten steps do not quite forget a random start; longer ones do.
    assert (linear_case(ball)[0] >= 0.9 * single).all()
    rise, _, _ = linear_case(ball, steps=40, step_scale=10.0)
    torch.testing.assert_close(rise, single, rtol=1e-4, atol=0)


@both_l2_balls
def test_l2_steps_reach_the_optimum_of_a_linear_model(ball):
    # Cauchy-Schwarz: no attack raises the score by more than R * ||g||.
    rise, radius, gradient = linear_case(ball, steps=40, step_scale=10.0, direction="l2")
    torch.testing.assert_close(rise, radius * gradient.norm(), rtol=1e-4, atol=0)


@both_l2_balls
def test_no_epsilon_gives_the_images_back_bit_exactly(ball):
    images, labels = images_and_labels()
    result = attack(images, labels, ball=ball, epsilon=0)
    assert torch.equal(result.images, images)
    assert torch.equal(result.loss_after, result.loss_before)
    assert not result.delta.any()


def test_a_black_image_is_skipped_and_disturbs_no_other():
    images, labels = images_and_labels()
    alone = attack(images, labels)
    images[1] = 0
    result = attack(images, labels)
    assert torch.equal(result.images[1], images[1])
    assert result.delta[1] == 0
    assert torch.equal(result.images[[0, 2, 3]], alone.images[[0, 2, 3]])


@directions
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 0.0])
def test_useless_gradients_leave_a_valid_image(direction, poison):
    class Poisoned(torch.autograd.Function):
        @staticmethod
        def forward(ctx, images):
            return images.clone()

        @staticmethod
        def backward(ctx, gradient):
            gradient = gradient.clone()
            gradient[1] = poison
            return gradient

    linear = Linear().eval()
    images, labels = images_and_labels()
    result = attack(images, labels, model=lambda x: linear(Poisoned.apply(x)), direction=direction)
    assert torch.isfinite(result.images).all()
    assert (result.delta <= 0.1 * (1 + 1e-5)).all()
    healthy = attack(images, labels, model=linear, direction=direction)
    assert torch.equal(result.images[[0, 2, 3]], healthy.images[[0, 2, 3]])


def test_tiny_gradients_still_have_a_direction():
    linear = Linear().eval()
    images, labels = images_and_labels()
    # Squares of gradients around 1e-30 underflow in float32.
    tiny = attack(images, labels, model=lambda x: linear(x) * 1e-30, direction="l2")
    assert (linear(tiny.images)[:, 1] > linear(images)[:, 1]).all()


@both_l2_balls
@pytest.mark.parametrize("size", [6, 5])
def test_batches_can_be_split_and_reordered(ball, size):
    images, labels = images_and_labels(batch=6, size=size)
    rows = torch.tensor([40, 7, 0, 123456789012, 5, 6])
    whole = attack(images, labels, ball=ball, rows=rows, restarts=2)
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    parts = [
        attack(images[part], labels[part], ball=ball, rows=rows[part], restarts=2) for part in order.split([1, 3, 2])
    ]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images[order])
    assert torch.equal(torch.cat([part.loss_after for part in parts]), whole.loss_after[order])


def test_random_starts_depend_on_seed_row_and_restart_only():
    rows = torch.tensor([0, 1])
    base, shares = random_offsets((2, 3, 4, 4), rows, seed=0, restart=0)
    torch.testing.assert_close(l2_norms(base), torch.ones(2))
    assert ((shares >= 0) & (shares < 1)).all()
    again = random_offsets((2, 3, 4, 4), rows.flip(0), seed=0, restart=0)
    assert torch.equal(again[0].flip(0), base)
    others = [base[0], base[1]]
    others += [random_offsets((1, 3, 4, 4), rows[:1], s, r)[0][0] for s, r in ((1, 0), (0, 1), (1, 1))]
    # 48 numbers: streams that were shifted copies of each other would agree in most places.
    for i, a in enumerate(others):
        for b in others[i + 1 :]:
            assert not torch.isclose(a, b).any() or torch.isclose(a, b).sum() <= 2


def test_large_batches_draw_the_same_numbers_in_threads():
    rows, shape = torch.arange(8), (8, 3, 224, 224)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        threaded = random_offsets(shape, rows, seed=1, restart=0)
        torch.set_num_threads(1)
        serial = random_offsets(shape, rows, seed=1, restart=0)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(threaded[0], serial[0])
    assert torch.equal(threaded[1], serial[1])


@both_l2_balls
def test_sign_steps_equal_a_plain_loop(ball):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, 3)).eval()
    images, labels = images_and_labels(batch=5)
    result = attack(images, labels, model=net, ball=ball, epsilon=0.3, steps=4)
    directions, shares = random_offsets(tuple(images.shape), torch.arange(5), 3, 0)
    mean = torch.zeros(3, 1, 1) if ball == RAW else torch.tensor(MEAN).view(3, 1, 1)
    std = torch.ones(3, 1, 1) if ball == RAW else torch.tensor(STD).view(3, 1, 1)
    for image, label, direction, share, ours in zip(images, labels, directions, shares, result.images, strict=True):
        clean = (image - mean) / std
        radius = 0.3 * clean.norm()
        z = clean + radius * share * direction
        for _ in range(4):
            x = (z * std + mean).clamp(0, 1).requires_grad_()
            nn.functional.cross_entropy(net(x[None]), label[None]).backward()
            delta = (x.detach() - mean) / std + 2.5 * radius / (4 * 108**0.5) * x.grad.sign() - clean
            z = clean + delta * min(1, radius / delta.norm())
        torch.testing.assert_close(ours, (z * std + mean).clamp(0, 1), rtol=0, atol=1e-5)


def test_restarts_keep_the_worst_loss_per_image():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, 3)).eval()
    images, labels = images_and_labels(batch=12)
    one = attack(images, labels, model=net, epsilon=0.3)
    five = attack(images, labels, model=net, epsilon=0.3, restarts=5)
    assert (five.loss_after >= one.loss_after).all()
    assert (five.loss_after > one.loss_after).any()
    with torch.no_grad():
        torch.testing.assert_close(
            nn.functional.cross_entropy(net(five.images), labels, reduction="none"), five.loss_after
        )


@pytest.mark.parametrize(
    ("restarts", "measure", "passes"), [(1, True, 9), (1, False, 7), (3, True, 25), (3, False, 24)]
)
def test_forward_passes_are_counted(restarts, measure, passes):
    images, labels = images_and_labels()
    model = Linear().eval()
    result = attack(images, labels, model=model, steps=7, restarts=restarts, measure_loss=measure)
    assert model.images_seen == passes * len(images)
    assert result.loss_before.isnan().all() == (not measure)


def test_weights_are_left_as_they_were():
    model = Linear().eval()
    before = model.weight.detach().clone()
    images, labels = images_and_labels()
    with torch.no_grad():
        result = attack(images, labels, model=model)
    assert model.weight.requires_grad
    assert model.weight.grad is None
    assert torch.equal(model.weight, before)
    assert not result.images.requires_grad


def test_channels_last_is_kept_and_changes_no_pixel_of_an_exact_model():
    images, labels = images_and_labels()
    images = images.to(memory_format=torch.channels_last)
    result = attack(images, labels, model=lambda x: Linear().eval()(x.contiguous()))
    assert result.images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result.images, attack(images.contiguous(), labels).images)


def test_registry():
    assert make_attack("pgd", steps=3, direction="l2") == PGD(steps=3, direction="l2")
    assert dataclasses.asdict(make_attack("pgd")) == {
        "restarts": 1,
        "steps": 10,
        "step_scale": 2.5,
        "direction": "sign",
        "random_start": True,
    }
    for options, words in (
        ({"step": 3}, "no option 'step'; allowed: restarts, steps"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": True}, "steps is True"),
        ({"step_scale": -1}, "step_scale is -1"),
        ({"direction": "up"}, "direction is 'up'; allowed: sign, l2"),
        ({"restarts": 1.5}, "restarts is 1.5"),
        ({"random_start": 1}, "random_start is 1; allowed: true or false"),
        ({"restarts": 2, "random_start": False}, "needs random_start"),
    ):
        with pytest.raises(ConfigError, match=words):
            make_attack("pgd", **options)
    with pytest.raises(ConfigError, match=r"'bim' is unknown; allowed: .*pgd"):
        make_attack("bim")


def test_bad_input_is_named():
    images, labels = images_and_labels()
    for change, words in (
        ({"model": Linear()}, "eval mode"),
        ({"images": images.double()}, "float32"),
        ({"images": images * 2}, r"pixels in \[0, 1\]"),
        ({"images": images * float("nan")}, "finite pixels"),
        ({"labels": labels[:2]}, "4 integer labels"),
        ({"rows": torch.rand(4)}, "4 integer rows"),
        ({"epsilon": -0.1}, "epsilon is -0.1"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
    ):
        with pytest.raises(InputError, match=words):
            attack(**{"images": images, "labels": labels, **change})


# -- in the cube


@pytest.mark.parametrize(("epsilon", "steps"), [(0.04, 5), (0.4, 3)])
def test_in_the_cube_it_equals_a_plain_loop(epsilon, steps):
    net, images, labels = trained_net()
    start = images + epsilon * random_cubes(tuple(images.shape), torch.arange(24), 3, 0)
    current = start.clamp(0, 1)
    for _ in range(steps):
        current.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(net(current), labels, reduction="sum"), current)
        moved = current.detach() + 2.5 * epsilon / steps * gradient.sign()
        current = torch.minimum(torch.maximum(moved, images - epsilon), images + epsilon).clamp(0, 1)
    ours = attack(images, labels, model=net, ball=LINF, epsilon=epsilon, steps=steps)
    torch.testing.assert_close(ours.images, current, rtol=0, atol=1e-6)
    assert (ours.delta > 0.99 * epsilon).all()
    assert (ours.delta <= epsilon * (1 + 1e-5)).all()


def test_in_the_cube_it_equals_libraries_from_the_same_start():
    torchattacks, foolbox = pytest.importorskip("torchattacks"), pytest.importorskip("foolbox")
    net, images, labels = trained_net()
    ours = attack(images, labels, model=net, ball=LINF, epsilon=0.03, steps=5, random_start=False).images
    theirs = torchattacks.PGD(net, eps=0.03, alpha=2.5 * 0.03 / 5, steps=5, random_start=False)(images, labels)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    linf = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * 0.03 / 5, steps=5, random_start=False)
    _, theirs, _ = linf(foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilons=0.03)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_in_the_cube_restarts_reach_the_loss_of_a_library_with_a_random_start():
    foolbox = pytest.importorskip("foolbox")
    net, images, labels = trained_net()
    linf = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * 0.03 / 10, steps=10)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _, theirs, _ = linf(foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu"), images, labels, epsilons=0.03)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(net(theirs), labels)
    assert attack(images, labels, model=net, ball=LINF, epsilon=0.03, restarts=3).loss_after.mean() >= loss


def test_starts_in_the_cube_are_uniform_and_depend_on_seed_row_and_restart_only():
    rows = torch.tensor([5, 2**40])
    base = random_cubes((2, 3, 64, 64), rows, seed=0, restart=0)
    assert base.abs().max() <= 1
    shares = torch.histc(base, bins=10, min=-1, max=1) / base.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1), rtol=0, atol=0.01)
    assert torch.equal(random_cubes((2, 3, 64, 64), rows.flip(0), seed=0, restart=0).flip(0), base)
    for seed, restart in ((1, 0), (0, 1)):
        other = random_cubes((1, 3, 64, 64), rows[:1], seed, restart)[0]
        assert torch.isclose(other, base[0]).float().mean() < 0.01


def test_gradients_of_l2_length_have_no_place_in_the_cube():
    images, labels = images_and_labels()
    with pytest.raises(ConfigError, match="option direction is 'l2'; allowed in ball linf: sign"):
        attack(images, labels, ball=LINF, direction="l2")
