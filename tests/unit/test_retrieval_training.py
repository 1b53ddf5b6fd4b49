"""Training of embeddings and with noise: losses against the library's own, the noise, batches of classes, stops."""

import argparse
from collections import Counter
from copy import deepcopy
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses, miners
from torch import nn
from torch.nn import functional

import train_model
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.registry import make
from nndefense.defenses import TRAINING
from nndefense.models.build import build_model
from nndefense.models.gaussian_noise import with_noise
from nndefense.models.metric_learning import LOSSES, class_batches, nearest_others
from nndefense.models.objective import Batch
from nndefense.models.train import train

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SETTINGS = {"epochs": 4, "batch": 16, "learning_rate": 0.05, "weight_decay": 1e-4, "seed": 5, "threads": 1}
# As in RetrievalGuard, and otherwise what the library takes.
OURS = {
    "margin": losses.MarginLoss(margin=0.2, beta=1.2),
    "triplet": losses.TripletMarginLoss(margin=0.05),
    "contrastive": losses.ContrastiveLoss(pos_margin=0, neg_margin=1),
    "multi_similarity": losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5),
    "sup_con": losses.SupConLoss(temperature=0.1),
}


def method(name="metric_learning", **options):
    return make("method", TRAINING, name, options)


def a_batch(count=12, classes=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 4, 4, generator=draw)
    return Batch(images, torch.arange(count) % classes, np.arange(count), 0, draw)


def again(batch):
    """The same batch, with random numbers that have not been drawn yet."""
    return Batch(batch.inputs, batch.targets, batch.rows, 0, deepcopy(batch.generator))


def network(outputs=5):
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, outputs))


def coloured(count, classes, seed=0):
    """Images of which each class has a colour of its own, far from the others' but for noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    shades = np.random.default_rng(1).integers(60, 200, (classes, 3))
    images = shades[labels][:, None, None, :] + rng.integers(-30, 30, (count, 16, 16, 3))
    return images.astype(np.uint8), labels


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- losses


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_the_library_on_vectors_of_norm_one(name):
    model, batch = network(), a_batch()
    loss, cosines = method(loss=name, sigma=0.0).objective()(model, batch)
    vectors = model(batch.inputs) / model(batch.inputs).norm(dim=1, keepdim=True)
    expected = OURS[name](vectors, batch.targets)
    assert expected > 0.01
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(cosines, nearest_others(vectors.detach(), batch.targets))
    loss.backward()
    assert model[1].weight.grad.abs().sum() > 0


def test_margin_loss_is_zero_just_where_pairs_keep_clear_of_the_boundary():
    """At 1.2, by 0.2: images of a class within 1 (an angle of 60 degrees), of others beyond 1.4 (88.9 degrees)."""

    def loss(*degrees):
        angles = np.deg2rad(degrees)
        points = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1), dtype=torch.float32)
        batch = Batch(points, torch.tensor([0, 0, 1, 1]), np.arange(4), 0, torch.Generator())
        return float(method(sigma=0.0).objective()(nn.Identity(), batch)[0])

    assert loss(0, 1, 90, 91) == 0
    assert loss(0, 1, 89, 90) > 0
    assert loss(0, 59, 200, 201) == 0
    assert loss(0, 61, 200, 201) > 0


def test_options_of_the_loss_reach_it():
    model, batch = network(), a_batch()
    found, _ = method(loss_options={"margin": 0.5, "beta": 0.7}, sigma=0.0).objective()(model, batch)
    vectors = functional.normalize(model(batch.inputs), dim=1)
    torch.testing.assert_close(found, losses.MarginLoss(margin=0.5, beta=0.7)(vectors, batch.targets))


def test_mined_pairs_are_those_that_the_library_draws_and_its_draws_come_from_the_batch():
    model, batch = network(), a_batch(24, classes=8)
    objective = method(loss="contrastive", miner="distance_weighted", sigma=0.0).objective()
    before = torch.get_rng_state()
    first, second = (float(objective(model, again(batch))[0].detach()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == second
    vectors = functional.normalize(model(batch.inputs), dim=1).detach()
    drawn = deepcopy(batch.generator)
    torch.randn(batch.inputs.shape, generator=drawn)
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(1 << 31, (), generator=drawn)))
        pairs = miners.DistanceWeightedMiner()(vectors, batch.targets)
    assert first == pytest.approx(float(losses.ContrastiveLoss()(vectors, batch.targets, pairs)))
    assert first != pytest.approx(float(losses.ContrastiveLoss()(vectors, batch.targets)))
    torch.randint(1 << 31, (), generator=batch.generator)
    assert float(objective(model, batch)[0].detach()) != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_options": {"gamma": 1.0}}, "'gamma' of margin; allowed: margin, nu, beta$"),
        ({"loss_options": {"learn_beta": 1.0}}, "'learn_beta' of margin; allowed: margin, nu, beta$"),
        ({"loss": "sup_con", "loss_options": {"distance": 1.0}}, "'distance' of sup_con; allowed: temperature$"),
        ({"loss": "arcface"}, "training option loss is 'arcface'; allowed: margin, triplet, contrastive, multi_simil"),
        ({"dimensions": 1}, "training option dimensions is 1; allowed: an integer >= 2"),
        ({"per_class": 1}, "training option per_class is 1; allowed: an integer >= 2"),
        ({"miner": "all"}, "training option miner is 'all'; allowed: none, distance_weighted"),
        ({"sigma": -0.1}, "training option sigma is -0.1; allowed: a number >= 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        method(**options).objective()
    assert "\n" not in str(caught.value)


def test_training_accuracy_is_that_of_the_nearest_other_image():
    draw = torch.Generator().manual_seed(2)
    vectors = functional.normalize(torch.randn(20, 4, generator=draw), dim=1)
    targets = torch.randint(0, 5, (20,), generator=draw)
    targets[0] = 6
    found = nearest_others(vectors.clone(), targets)
    assert found.shape == (20, 7)
    for image in range(20):
        for label in range(7):
            others = [float(vectors[image] @ vectors[j]) for j in range(20) if j != image and targets[j] == label]
            assert float(found[image, label]) == pytest.approx(max(others, default=-2.0), abs=1e-6)
    # Nobody is its own neighbour: the only image of a class is never right.
    assert found[0].argmax() != 6


# -- noise


def test_noise_is_gaussian_of_its_own_for_every_value_and_not_clipped():
    batch = Batch(
        torch.full((400, 3, 8, 8), 0.9), torch.zeros(400), np.arange(400), 0, torch.Generator().manual_seed(1)
    )
    noise = (with_noise(batch, 0.25) - 0.9) / 0.25
    n = noise.numel()
    assert abs(float(noise.mean())) < 5 / n**0.5
    assert abs(float(noise.std()) - 1) < 5 / (2 * n) ** 0.5
    assert abs(float((noise.abs() < 1).float().mean()) - 0.6827) < 5 * (0.22 / n) ** 0.5
    assert float(0.25 * noise.max()) > 0.2
    pixels = noise.flatten(1)
    correlation = torch.corrcoef(pixels)
    assert float(correlation.fill_diagonal_(0).abs().max()) < 0.5
    assert not torch.equal(with_noise(batch, 0.25), with_noise(batch, 0.25))


def test_noise_comes_from_the_batch_alone_and_none_leaves_images_as_they_are():
    batch = a_batch()
    first = with_noise(again(batch), 0.3)
    torch.rand(5)
    assert torch.equal(with_noise(again(batch), 0.3), first)
    assert torch.equal(with_noise(batch, 0.0), batch.inputs)


def test_training_with_noise_minimises_cross_entropy_of_noisy_images():
    model, batch = network(3), a_batch()
    loss, logits = method("gaussian_noise", sigma=0.25).objective()(model, again(batch))
    expected = model(with_noise(again(batch), 0.25))
    assert torch.equal(logits, expected)
    assert torch.equal(loss, functional.cross_entropy(expected, batch.targets))
    assert not torch.equal(logits, model(batch.inputs))
    with pytest.raises(ConfigError, match="training option sigma is -1; allowed: a number >= 0"):
        method("gaussian_noise", sigma=-1)


def test_embeddings_are_of_noisy_images():
    model, batch = network(), a_batch()
    loss, _ = method(sigma=0.4).objective()(model, again(batch))
    vectors = functional.normalize(model(with_noise(again(batch), 0.4)), dim=1)
    torch.testing.assert_close(loss, OURS["margin"](vectors, batch.targets))


# -- batches


def drawn(labels, per_class, size, seed=0, epochs=1):
    batches, generator = class_batches(labels, per_class), torch.Generator().manual_seed(seed)
    return [list(batches(len(labels), size, generator)) for _ in range(epochs)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 9), st.integers(4, 40))
def test_batches_hold_at_least_so_many_of_each_class_and_as_many_classes_as_fit(seed, per_class, classes, size):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(classes), rng.integers(0, classes, 50)])) * 3
    if size < 2 * per_class:
        return
    (found,) = drawn(labels, per_class, size, seed)
    assert len(found) == len(labels) // size
    for rows in found:
        assert rows.shape == (size,)
        assert rows.dtype == np.int64
        counts = Counter(labels[rows].tolist())
        assert min(counts.values()) >= per_class
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len(counts) == min(classes, size // per_class)


def test_every_image_of_a_class_comes_once_before_any_comes_again_and_all_classes_come():
    labels = np.repeat(np.arange(6), [5, 7, 9, 11, 13, 15])
    (found,) = drawn(np.tile(labels, 10), 3, 6)
    rows = np.concatenate(found)
    assert set(np.tile(labels, 10)[rows]) == set(range(6))
    for label in range(6):
        members = np.flatnonzero(np.tile(labels, 10) == label)
        own = [row for row in rows if row in set(members.tolist())]
        for start in range(0, len(own), len(members)):
            part = own[start : start + len(members)]
            assert len(set(part)) == len(part)
    (small,) = drawn(np.array([0] * 2 + [1] * 60), 4, 8)
    for rows in small:
        assert sorted(rows[rows < 2].tolist()) == [0, 0, 1, 1]


def test_batches_are_functions_of_the_generator():
    labels = np.arange(60) % 7
    first, second = drawn(labels, 3, 12, seed=4, epochs=2)
    repeated, _ = drawn(labels, 3, 12, seed=4, epochs=2)
    np.testing.assert_array_equal(first, repeated)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, drawn(labels, 3, 12, seed=5)[0])


def test_batches_without_two_classes_are_refused():
    with pytest.raises(InputError, match="all 5 images are of one class; at least two are needed"):
        class_batches(np.zeros(5, dtype=int), 2)
    with pytest.raises(ConfigError, match="per_class is 4; allowed in a batch of 7: 2 to 3"):
        drawn(np.arange(20) % 2, 4, 7)


# -- training


def trained(images, labels, **options):
    model = build_model("cifar_resnet8", 8, MEAN, STD, seed=1)
    model.classes = None
    recipe = method(dimensions=8, sigma=0.1, per_class=3, miner="distance_weighted")
    states = []
    history = train(
        model,
        images,
        labels,
        **{
            **SETTINGS,
            "objective": recipe.objective(),
            "batches": recipe.batches(labels),
            "on_epoch": states.append,
            **options,
        },
    )
    return model, history, states


@pytest.fixture(scope="module")
def whole():
    images, labels = coloured(80, 5)
    return images, labels, *trained(images, labels)


def test_embeddings_learn_classes_that_they_are_asked_for_by_their_neighbours(whole):
    images, labels, model, history, _ = whole
    assert history[-1]["accuracy"] > max(0.5, history[0]["accuracy"])
    with torch.no_grad():
        vectors = functional.normalize(model(torch.from_numpy(images).permute(0, 3, 1, 2) / 255), dim=1)
    nearest = nearest_others(vectors, torch.from_numpy(labels)).argmax(dim=1)
    assert (nearest.numpy() == labels).mean() > 0.8


@pytest.mark.parametrize("epoch", [1, 3])
def test_stopped_training_ends_with_the_same_bits(whole, epoch):
    images, labels, model, history, states = whole
    torch.rand(7)
    resumed, own, _ = trained(images, labels, resume=states[epoch - 1])
    assert same_bits(bits(resumed), bits(model))
    assert own == history


def test_steps_see_the_batches_that_the_method_chooses():
    images, labels = coloured(40, 4)
    seen, plain = [], method(dimensions=8).objective()

    def objective(model, batch):
        seen.append(batch.rows)
        assert torch.equal(batch.targets, torch.from_numpy(labels[batch.rows]))
        return plain(model, batch)

    trained(images, labels, objective=objective, epochs=2)
    assert len(seen) == 2 * (40 // 16)
    assert all(min(Counter(labels[rows].tolist()).values()) == 4 for rows in seen)
    found = train_model.method_options(argparse.Namespace(sources=[]), method(per_class=8), labels, "cpu")
    (rows,) = islice(found["batches"](40, 16, torch.Generator()), 1)
    assert list(Counter(labels[rows].tolist()).values()) == [8, 8]
    assert set(train_model.method_options(argparse.Namespace(sources=[]), method("gaussian_noise"), labels, "cpu")) == {
        "objective"
    }
    assert train_model.method_options(argparse.Namespace(sources=[]), None, labels, "cpu") == {}


def test_labels_need_not_fit_the_outputs_of_an_embedding_alone():
    images, labels = coloured(32, 12)
    assert trained(images, labels, epochs=1)[1]
    with pytest.raises(InputError, match="label 11: the model has 8 classes"):
        train(build_model("cifar_resnet8", 8, MEAN, STD), images, labels, **SETTINGS)
