"""Ensemble adversarial training and adversarial logit pairing: what a step minimises, and what it leaves alone."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import nn
from torch.nn import functional

from nndefense.core.errors import ConfigError
from nndefense.core.registry import make
from nndefense.defenses import TRAINING
from nndefense.defenses.ensemble_training import EnsembleTraining
from nndefense.defenses.logit_pairing import LogitPairing, pairing_loss
from nndefense.defenses.mixed import crafting, random_point, random_signs, sign_steps
from nndefense.models.build import build_model, freeze
from nndefense.models.objective import Batch, CrossEntropy
from nndefense.models.train import train
from tests.unit.attack_cases import Curved, Linear, draw_images, trained_net

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
EPSILON = 0.05
METHODS = [
    EnsembleTraining(epsilon=EPSILON),
    EnsembleTraining(epsilon=EPSILON, attack="random_fgsm"),
    LogitPairing(epsilon=EPSILON),
]


def draw_batch(size=6, seed=0, count=8):
    images, labels = draw_images(count, size, seed)
    return Batch(images, labels, np.arange(count), 0, torch.Generator().manual_seed(seed))


def network(seed=0, training=True):
    return build_model("cifar_resnet8", 3, MEAN, STD, seed=seed).train(training)


def fgsm(model, images, labels, epsilon=EPSILON):
    return sign_steps(model, images, labels, epsilon, step=epsilon)


class Recorder(nn.Module):
    """Keeps what the model in it was shown, and in which mode."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.shown = []

    def forward(self, images):
        self.shown.append((self.training, images.detach().clone()))
        return self.model(images)


def gradients(objective, model, batch):
    loss, logits = objective(model, batch)
    return loss.detach(), logits.detach(), torch.autograd.grad(loss, list(model.parameters()))


def mixed_by_hand(model, batch, steps):
    """Madry's mixed mini-batch PGD, written apart from the library."""
    model.eval()
    offsets = 2 * torch.rand(batch.inputs.shape, generator=batch.generator) - 1
    start = torch.add(batch.inputs, offsets, alpha=EPSILON)
    low, high = (batch.inputs - EPSILON).clamp(min=0), (batch.inputs + EPSILON).clamp(max=1)
    attacked = start.clamp(low, high)
    for _ in range(steps):
        attacked.requires_grad_()
        loss = functional.cross_entropy(model(attacked), batch.targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        attacked = torch.add(attacked.detach(), gradient.sign(), alpha=2.5 * EPSILON / steps).clamp(low, high)
    model.train()
    logits = model(torch.cat([batch.inputs, attacked]))
    half = len(batch.inputs)
    clean = functional.cross_entropy(logits[:half], batch.targets)
    return 0.5 * clean + 0.5 * functional.cross_entropy(logits[half:], batch.targets), logits[:half]


# -- adversarial images of training


def steps_of(name, model, images, labels, epsilon, seed=0):
    """The images that the ways to train make."""
    draw, half = torch.Generator().manual_seed(seed), epsilon / 2
    return {
        "fgsm": lambda: fgsm(model, images, labels, epsilon),
        "random_fgsm": lambda: sign_steps(
            model, images, labels, epsilon, step=half, start=random_signs(images, half, draw)
        ),
        "pgd": lambda: sign_steps(
            model, images, labels, epsilon, step=epsilon / 2, steps=5, start=random_point(images, epsilon, draw)
        ),
    }[name]()


STEPS = pytest.mark.parametrize("name", ["fgsm", "random_fgsm", "pgd"])


@STEPS
@settings(max_examples=20, deadline=None)
@given(epsilon=st.floats(0, 1), seed=st.integers(0, 99), spread=st.sampled_from([0.0, 0.5, 1.0]))
def test_steps_stay_in_the_cube_and_in_the_box(name, epsilon, seed, spread):
    images, labels = draw_images(seed=seed, low=0.5 - spread / 2, high=0.5 + spread / 2)
    attacked = steps_of(name, Curved(seed=seed), images, labels, epsilon, seed)
    assert attacked.shape == images.shape
    assert not attacked.requires_grad
    assert (attacked - images).abs().max() <= epsilon + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1


@STEPS
def test_budget_zero_returns_the_images_bit_for_bit_in_new_memory(name):
    images, labels = draw_images()
    attacked = steps_of(name, Curved(), images, labels, 0.0)
    assert torch.equal(attacked, images)
    assert attacked.data_ptr() != images.data_ptr()


def test_a_far_start_is_projected():
    images, labels = draw_images()
    still = sign_steps(Curved(), images, labels, EPSILON, step=0.0, start=torch.full_like(images, 7.0))
    torch.testing.assert_close(still, (images + EPSILON).clamp(max=1), rtol=0, atol=0)


def test_half_of_the_randomised_budget_is_random_and_half_follows_the_gradient():
    model = Linear()
    images, _ = draw_images(low=0.2, high=0.8)
    moved = (steps_of("random_fgsm", model, images, torch.zeros(4, dtype=torch.int64), 0.1) - images) / 0.05
    along = moved * model.weight.detach().sign()
    # Half the signs agree with the gradient's: 2 where they do, 0 where they do not.
    torch.testing.assert_close(along.round(), along, rtol=0, atol=1e-4)
    assert set(along.round().unique().tolist()) == {0.0, 2.0}
    assert 0.4 < (along > 1).float().mean() < 0.6


def test_steps_equal_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    net, images, labels = trained_net()
    theirs = torchattacks.PGD(net, eps=EPSILON, alpha=EPSILON / 2, steps=5, random_start=False)(images, labels)
    ours = sign_steps(net, images, labels, EPSILON, step=EPSILON / 2, steps=5)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_random_point_is_uniform_in_the_cube():
    images = torch.full((8, 3, 32, 32), 0.5)
    offsets = (random_point(images, 0.2, torch.Generator().manual_seed(0)) - images) / 0.2
    shares = torch.histc(offsets, bins=10, min=-1, max=1) / offsets.numel()
    torch.testing.assert_close(shares, torch.full((10,), 0.1), rtol=0, atol=0.01)


@pytest.mark.parametrize("training", [False, True])
def test_steps_leave_weights_and_mode_alone(training):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3)).train(training)
    net[0].weight.requires_grad_(False)
    images, labels = draw_images()
    with torch.no_grad():
        attacked = steps_of("pgd", net, images, labels, EPSILON)
    assert not torch.equal(attacked, images)
    assert net.training == training
    assert [parameter.requires_grad for parameter in net.parameters()] == [False] + [True] * 5
    assert all(parameter.grad is None for parameter in net.parameters())
    assert int(net[1].num_batches_tracked) == (5 if training else 0)


def test_a_gradient_that_is_no_number_counts_as_zero():
    def model(images):
        flat = images.flatten(1)[:, :2]
        return torch.cat([flat[:1] * float("nan"), flat[1:]])

    images, labels = draw_images(low=0.2, high=0.8)
    attacked = fgsm(model, images, labels % 2)
    assert torch.equal(attacked[0], images[0])
    assert not torch.equal(attacked[1], images[1])


# -- what a step minimises


def test_pairing_of_weight_zero_is_mixed_adversarial_training_bit_for_bit():
    results = []
    for objective in (
        LogitPairing(epsilon=EPSILON, attack_steps=2, pairing_weight=0.0).objective(),
        lambda model, batch: mixed_by_hand(model, batch, 2),
    ):
        model = network()
        results.append((*gradients(objective, model, draw_batch(16)), model.state_dict()))
    (loss, logits, grads, state), (other_loss, other_logits, other_grads, other_state) = results
    assert torch.equal(loss, other_loss)
    assert torch.equal(logits, other_logits)
    assert all(torch.equal(one, other) for one, other in zip(grads, other_grads, strict=True))
    assert all(torch.equal(value, other_state[name]) for name, value in state.items())


def test_pairing_weight_adds_the_mean_squared_distance_of_the_logits():
    losses = {}
    for weight in (0.0, 2.0):
        recorder = Recorder(Curved())
        loss, _ = LogitPairing(epsilon=EPSILON, pairing_weight=weight).objective()(recorder, draw_batch())
        losses[weight] = loss.item()
    clean, attacked = recorder.model(recorder.shown[-1][1]).detach().chunk(2)
    distance = np.mean([np.sum((one - other) ** 2) for one, other in zip(clean.numpy(), attacked.numpy(), strict=True)])
    assert losses[2.0] - losses[0.0] == pytest.approx(2 * distance, rel=1e-4)
    assert distance > 1e-4
    # The mean over the classes as well would be three times smaller.
    assert pairing_loss(clean, attacked).item() == pytest.approx(3 * functional.mse_loss(clean, attacked).item())


def test_identical_inputs_have_no_pairing_loss():
    batch = draw_batch()
    loss, logits = LogitPairing(epsilon=0.0, pairing_weight=1e9).objective()(Curved(), batch)
    assert loss.item() == functional.cross_entropy(logits, batch.targets).item()


@pytest.mark.parametrize("method", METHODS)
def test_trained_on_half_images_and_half_images_in_the_ball(method):
    recorder, batch = Recorder(Curved()).train(), draw_batch()
    loss, logits = method.objective([Curved(seed=4)])(recorder, batch)
    training, shown = recorder.shown[-1]
    clean, attacked = shown.chunk(2)
    assert training
    assert torch.equal(clean, batch.inputs)
    assert 0.9 * EPSILON < (attacked - clean).abs().max() <= EPSILON + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert not any(mode for mode, _ in recorder.shown[:-1])
    torch.testing.assert_close(logits, recorder.model(clean))
    assert loss.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_attacks_leave_running_statistics_modes_and_gradients_alone(method):
    model, batch = network(), draw_batch(16)
    still = model.net.layer1.eval()
    recorder = Recorder(model)
    alone = copy.deepcopy(model)
    method.objective()(recorder, batch)
    alone(recorder.shown[-1][1])
    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in model.state_dict().items())
    assert int(model.net.bn1.num_batches_tracked) == 1
    assert [module.training for module in model.modules()] == [module.training for module in alone.modules()]
    assert model.training
    assert not still.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_modes_come_back_after_an_error():
    model = network()
    modes = []

    def fail():
        with crafting(model):
            modes.append(model.training)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert modes == [False]
    assert all(module.training for module in model.modules())


def test_every_source_and_the_network_itself_are_drawn_equally_often():
    sources, model = [Linear(), Linear(), Linear()], Linear()
    objective = EnsembleTraining(epsilon=EPSILON).objective(sources)
    images, _ = draw_images(2)
    generator, steps = torch.Generator().manual_seed(3), 400
    for step in range(steps):
        objective(model, Batch(images, torch.tensor([0, 1]), np.arange(2), step, generator))
    drawn = [source.images_seen / 2 for source in sources]
    # The network also sees each batch of twice the size in its training pass.
    drawn.append(model.images_seen / 2 - 2 * steps)
    assert sum(drawn) == steps
    assert chisquare(drawn).pvalue > 0.01


def test_adversarial_images_are_those_of_the_drawn_source():
    source, batch = Curved(seed=4), draw_batch()
    recorder = Recorder(Curved())
    objective = EnsembleTraining(epsilon=EPSILON).objective([source])
    found = set()
    for _ in range(12):
        objective(recorder, batch)
        attacked = recorder.shown[-1][1].chunk(2)[1]
        by = [torch.equal(attacked, fgsm(one, batch.inputs, batch.targets)) for one in (source, recorder)]
        assert sum(by) == 1
        found.add(by.index(True))
    assert found == {0, 1}


@pytest.mark.parametrize("method", METHODS)
def test_same_generator_state_gives_the_same_loss(method):
    objective = method.objective([network(1, training=False)])
    losses = [objective(network(), draw_batch(16, seed=seed))[0].item() for seed in (2, 2, 3)]
    assert losses[0] == losses[1] != losses[2]


def weak_waves(count, seed, side=12):
    """Gratings in one of three directions, and a tint that is easier to learn but weaker than an attack."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    grid = np.arange(side) / side * 4 * np.pi
    waves = [np.sin(grid)[:, None] + 0 * grid, np.sin(grid) + 0 * grid[:, None], np.sin(grid[:, None] + grid)]
    images = 128 + 24 * np.stack(waves)[labels][..., None] + rng.normal(0, 12, (count, side, side, 3))
    images[np.arange(count), ..., labels] += 10
    return images.clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def plainly_trained():
    return trained_with(CrossEntropy())


def trained_with(objective):
    model = build_model("cifar_resnet8", 3, MEAN, STD)
    options = {"epochs": 6, "batch": 24, "learning_rate": 0.1, "weight_decay": 1e-4, "seed": 1, "threads": 1}
    train(model, *weak_waves(192, seed=0), **options, augment=False, objective=objective)
    return freeze(model)


def accuracies(model):
    """On new images, and on these attacked by FGSM."""
    images, labels = weak_waves(150, seed=1)
    images, labels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255, torch.from_numpy(labels)
    with torch.no_grad():
        shown = [images, fgsm(model, images, labels)]
        return [(model(one).argmax(1) == labels).float().mean().item() for one in shown]


@pytest.mark.parametrize("method", METHODS)
def test_trained_network_resists_where_a_plain_one_falls(method, plainly_trained):
    clean, attacked = accuracies(plainly_trained)
    defended_clean, defended = accuracies(trained_with(method.objective([plainly_trained])))
    assert clean > 0.9
    assert defended_clean > 0.9
    assert defended > attacked + 0.2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ensemble_training", {"epsilon": 2}, "training option epsilon is 2; allowed: a number >= 0 and <= 1"),
        ("ensemble_training", {"attack": "pgd"}, "attack is 'pgd'; allowed: fgsm, random_fgsm"),
        ("ensemble_training", {"attack_steps": 2}, "no option 'attack_steps'; allowed: epsilon, attack"),
        ("logit_pairing", {"attack_steps": 0}, "attack_steps is 0"),
        ("logit_pairing", {"pairing_weight": -1}, "pairing_weight is -1; allowed: a number >= 0"),
        ("magic", {}, "method 'magic' is unknown; allowed: clustered, ensemble_training, gaussian_noise, logit"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        make("method", TRAINING, name, options)
