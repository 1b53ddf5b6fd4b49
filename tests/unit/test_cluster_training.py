"""Adversarial training with cluster terms: what a step minimises, what it leaves alone, and what it is good for."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from nndefense.core.errors import ConfigError, InputError
from nndefense.core.registry import make
from nndefense.defenses import TRAINING
from nndefense.defenses.cluster_training import ClusterTargets, ClusterTraining, cluster_loss
from nndefense.defenses.mixed import sign_steps
from nndefense.dictionaries.clusters import choose_cluster, find_clusters
from nndefense.models.build import build_model
from nndefense.models.latents import latents
from nndefense.models.objective import Batch
from nndefense.models.standardize import Standardized
from nndefense.models.train import train

from .attack_cases import draw_images
from .test_defenses_training import MEAN, STD, weak_waves

EPSILON, CLASSES, WIDTH = 0.05, 3, 64


class Watched(Standardized):
    """Keeps what it was shown, and in which mode."""

    shown = ()

    def forward(self, images):
        self.shown = (*self.shown, (self.training, images.detach().clone()))
        return super().forward(images)


def network(seed=0):
    net = build_model("cifar_resnet8", CLASSES, MEAN, STD, seed=seed).net
    return Watched(net, MEAN, STD, "cifar_resnet8", CLASSES).train()


def draw_batch(count=12, seed=0, rows=None):
    images, labels = draw_images(count, 8, seed)
    rows = np.arange(count) if rows is None else np.array(rows)
    return Batch(images, labels, rows, 0, torch.Generator().manual_seed(seed))


def draw_targets(count=12, clusters=4, seed=0, width=WIDTH):
    random = np.random.default_rng(seed)
    means, deviations = random.random((2, clusters, width)).astype(np.float32)
    return ClusterTargets(means, deviations, random.permutation(np.arange(count) % clusters))


def by_definition(found, members, means, deviations):
    """The cluster terms of latents (B, D) as a loop over clusters, in NumPy."""
    total = 0.0
    for cluster in np.unique(members):
        group = found[members == cluster].astype(np.float64)
        term = np.mean((group.mean(axis=0) - means[cluster]) ** 2)
        if len(group) > 1:
            term += np.mean((group.std(axis=0, ddof=1) - deviations[cluster]) ** 2)
        total += len(group) / len(found) * term
    return total


def plain_by_hand(model, batch, steps):
    """Madry's adversarial training, written apart from the library."""
    model.eval()
    offsets = 2 * torch.rand(batch.inputs.shape, generator=batch.generator) - 1
    low, high = (batch.inputs - EPSILON).clamp(min=0), (batch.inputs + EPSILON).clamp(max=1)
    attacked = torch.add(batch.inputs, offsets, alpha=EPSILON).clamp(low, high)
    for _ in range(steps):
        attacked.requires_grad_()
        loss = functional.cross_entropy(model(attacked), batch.targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        attacked = torch.add(attacked.detach(), gradient.sign(), alpha=2.5 * EPSILON / steps).clamp(low, high)
    model.train()
    logits = model(attacked)
    return functional.cross_entropy(logits, batch.targets), logits


# -- the cluster terms


def test_terms_of_a_group_and_of_single_images_by_hand():
    found = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 2.0], [7.0, 7.0]])
    means = torch.tensor([[2.0, 2.0], [7.0, 5.0]])
    deviations = torch.tensor([[1.0, 1.0], [50.0, 50.0]])
    # Of three: mean (3, 2), deviation (2, 2); (1 + 0) / 2 + (1 + 1) / 2. Of one: the mean only, (0 + 4) / 2.
    loss = cluster_loss(found, torch.tensor([0, 0, 0, 1]), means, deviations)
    assert loss.item() == pytest.approx((3 * 1.5 + 1 * 2.0) / 4)
    alone = cluster_loss(found[3:], torch.tensor([0]), means[1:], deviations[1:])
    assert alone.item() == pytest.approx(2.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 5), st.integers(1, 4))
def test_terms_follow_their_definition_in_any_order(seed, count, clusters, width):
    random = np.random.default_rng(seed)
    means, deviations = random.random((2, clusters, width)).astype(np.float32)
    found = random.normal(1, 2, (count, width)).astype(np.float32)
    members = random.integers(0, clusters, count)
    expected = by_definition(found, members, means, deviations)
    for order in (np.arange(count), random.permutation(count)):
        present, groups = np.unique(members[order], return_inverse=True)
        parts = (torch.from_numpy(one) for one in (found[order], groups, means[present], deviations[present]))
        assert cluster_loss(*parts).item() == pytest.approx(expected, rel=1e-4)


def test_terms_have_the_slope_of_finite_differences():
    draw = torch.Generator().manual_seed(0)
    found = torch.randn(7, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    means, deviations = torch.rand(2, 3, 3, generator=draw, dtype=torch.float64)
    groups = torch.tensor([0, 2, 0, 1, 2, 0, 2])
    assert torch.autograd.gradcheck(lambda one: cluster_loss(one, groups, means, deviations), found)


def test_identical_images_of_a_group_have_a_finite_slope():
    found = torch.tensor([[0.5, 0.0], [0.5, 0.0], [0.25, 1.0], [0.5, 3.0]], requires_grad=True)
    means, deviations = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.ones(2, 2)
    loss = cluster_loss(found, torch.tensor([0, 0, 1, 1]), means, deviations)
    loss.backward()
    spread = (1 - 0.25 / 2**0.5) ** 2, (1 - 2 / 2**0.5) ** 2
    expected = 0.5 * (0.25 + 0 + 1 + 1) / 2 + 0.5 * (0.375**2 + 4 + sum(spread)) / 2
    assert loss.item() == pytest.approx(expected)
    assert found.grad.isfinite().all()
    # The mean still pulls where the deviation has no direction.
    torch.testing.assert_close(found.grad[:2], torch.tensor([[0.125, 0.0], [0.125, 0.0]]))


# -- a step


def test_step_minimises_cross_entropy_and_terms_of_one_training_pass():
    model, targets = network(), draw_targets()
    rows = [11, 3, 0, 7, 7, 2]
    batch = draw_batch(6, rows=rows)
    loss, logits = ClusterTraining(epsilon=EPSILON, weight=0.7).objective(clusters=targets)(model, batch)
    assert [training for training, _ in model.shown] == [False] * 3 + [True]
    attacked = model.shown[-1][1]
    assert 0.9 * EPSILON < (attacked - batch.inputs).abs().max() <= EPSILON + 1e-6
    assert 0 <= attacked.min() <= attacked.max() <= 1
    again = network()
    found = []
    again.net.linear.register_forward_hook(lambda _, inputs, output: found.append((inputs[0], output)))
    again(attacked)
    ((inside, expected),) = found
    assert torch.equal(logits, expected)
    members = targets.members[rows]
    assert len(np.unique(members)) < len(rows)
    terms = by_definition(inside.detach().numpy(), members, targets.means, targets.deviations)
    assert terms > 0.1
    assert loss.item() == pytest.approx(functional.cross_entropy(logits, batch.targets).item() + 0.7 * terms, rel=1e-5)


def test_weight_zero_is_adversarial_training_bit_for_bit():
    results = []
    for objective in (
        ClusterTraining(epsilon=EPSILON, attack_steps=2, weight=0.0).objective(clusters=draw_targets()),
        lambda model, batch: plain_by_hand(model, batch, 2),
    ):
        model = network()
        loss, logits = objective(model, draw_batch())
        grads = torch.autograd.grad(loss, list(model.parameters()))
        results.append([loss.detach(), logits.detach(), *grads, *model.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_budget_zero_trains_on_the_images_themselves():
    model, batch = network(), draw_batch()
    ClusterTraining(epsilon=0.0).objective(clusters=draw_targets())(model, batch)
    ((training, shown),) = model.shown
    assert training
    assert torch.equal(shown, batch.inputs)


def test_terms_reach_all_layers_before_the_last_and_the_loss_all():
    model, targets, batch = network(), draw_targets(), draw_batch()
    grads = []
    for weight in (0.0, 1e6):
        own = copy.deepcopy(model)
        loss, _ = ClusterTraining(epsilon=0.0, weight=weight).objective(clusters=targets)(own, batch)
        loss.backward()
        grads.append({name: one.grad for name, one in own.named_parameters()})
    for name, plain in grads[0].items():
        assert plain.isfinite().all()
        assert grads[1][name].isfinite().all()
        assert plain.abs().max() > 0
        if name.startswith("net.linear"):
            torch.testing.assert_close(grads[1][name], plain)
        else:
            assert grads[1][name].abs().max() > 100 * plain.abs().max()


def test_identical_images_train_with_finite_slopes():
    batch = draw_batch()
    batch = dataclasses.replace(
        batch, inputs=batch.inputs[:1].repeat(12, 1, 1, 1), targets=torch.zeros_like(batch.targets)
    )
    model = network()
    loss, _ = ClusterTraining(epsilon=0.0).objective(clusters=draw_targets())(model, batch)
    loss.backward()
    assert loss.isfinite()
    assert all(one.grad.isfinite().all() for one in model.parameters())


def test_attacks_leave_running_statistics_modes_and_gradients_alone():
    model, batch = network(), draw_batch()
    model.net.layer1.eval()
    alone = copy.deepcopy(model)
    ClusterTraining(epsilon=EPSILON).objective(clusters=draw_targets())(model, batch)
    alone(model.shown[-1][1])
    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in model.state_dict().items())
    assert int(model.net.bn1.num_batches_tracked) == 1
    assert [one.training for one in model.modules()] == [one.training for one in alone.modules()]
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert not any(one._forward_pre_hooks for one in model.modules())


def pixels(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


def latents_under_attack(model, attacked, images, labels):
    """Of images that are attacked through a network, in eval mode."""
    points, targets = pixels(images), torch.from_numpy(labels)
    adversarial = sign_steps(attacked.eval(), points, targets, EPSILON, step=EPSILON, steps=2)
    with torch.no_grad():
        return latents(model.eval(), adversarial).numpy()


@pytest.fixture(scope="module")
def trained():
    """A plainly trained network, its clusters, and by weight networks trained on from it with them."""
    images, labels = weak_waves(96, seed=0)
    options = {"batch": 24, "weight_decay": 1e-4, "threads": 1, "augment": False}
    clean = network()
    train(clean, images, labels, epochs=8, learning_rate=0.1, seed=1, **options)
    with torch.no_grad():
        clusters = find_clusters(latents(clean, pixels(images)).numpy(), labels, most=2, smallest=8)
    targets = ClusterTargets(clusters.means, clusters.deviations, clusters.members)
    networks = {}
    for weight in (0.0, 3.0):
        networks[weight] = copy.deepcopy(clean)
        objective = ClusterTraining(epsilon=EPSILON, attack_steps=2, weight=weight).objective(clusters=targets)
        history = train(
            networks[weight], images, labels, epochs=8, learning_rate=0.05, seed=2, objective=objective, **options
        )
        assert history[-1]["accuracy"] > 0.9
    return clean, clusters, networks


def test_terms_bring_latents_of_attacked_images_nearer_to_their_clusters(trained):
    _, clusters, networks = trained
    images, labels = weak_waves(96, seed=0)
    distances = {}
    for weight, model in networks.items():
        found = latents_under_attack(model, model, images, labels)
        distances[weight] = np.square(found - clusters.means[clusters.members]).mean()
    assert distances[3.0] < 0.6 * distances[0.0]


def test_trained_network_chooses_clusters_of_attacked_images_that_the_clean_one_mistakes(trained):
    clean, clusters, networks = trained
    images, labels = weak_waves(150, seed=1)
    right = {}
    for name, model in {"clean": clean, **networks}.items():
        found = latents_under_attack(model, clean, images, labels)
        right[name] = (clusters.classes[choose_cluster(found, clusters.means)] == labels).mean()
    assert right["clean"] < 0.7
    assert right[3.0] > 0.9


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": np.array([0, 4])}, "members of clusters are 0 to 4; allowed: 0 to 3"),
        ({"members": np.array([-1, 2])}, "members of clusters are -1 to 2; allowed: 0 to 3"),
        ({"deviations": np.ones((3, WIDTH), np.float32)}, r"deviations \(3, 64\) .*needed: \(K, D\), \(K, D\) and"),
        ({"means": np.ones(4, np.float32)}, r"have means \(4,\)"),
        ({"members": np.zeros((2, 1), np.int64)}, r"members \(2, 1\); needed"),
        ({"means": np.full((4, WIDTH), np.nan, np.float32)}, "must be finite"),
        ({"deviations": np.full((4, WIDTH), -1, np.float32)}, "deviations >= 0"),
    ],
)
def test_targets_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        dataclasses.replace(draw_targets(), **changes)
    assert "\n" not in str(caught.value)


def test_targets_of_other_networks_or_images_are_refused():
    training = ClusterTraining(epsilon=0.0)
    with pytest.raises(InputError, match="clusters of 32 dimensions do not fit latents of 64"):
        training.objective(clusters=draw_targets(width=32))(network(), draw_batch())
    with pytest.raises(InputError, match="clusters of 8 images do not fit a training image 11"):
        training.objective(clusters=draw_targets(8))(network(), draw_batch())
    with pytest.raises(ConfigError, match="ends in a linear layer"):
        training.objective(clusters=draw_targets())(Standardized(nn.Conv2d(3, 3, 8), MEAN, STD), draw_batch())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 2}, "training option epsilon is 2; allowed: a number >= 0 and <= 1"),
        ({"attack_steps": 0}, "attack_steps is 0"),
        ({"weight": -1}, "weight is -1; allowed: a number >= 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        make("method", TRAINING, "clustered", options)
