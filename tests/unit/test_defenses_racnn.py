"""Retrieval-augmented networks: gradients, files, training, attack."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nndefense.attacks.pgd import PGD
from nndefense.axes.ball import RAW
from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.core.files import write_json
from nndefense.models.build import build_model, freeze
from nndefense.models.checkpoint import open_checkpoint, save_checkpoint
from nndefense.models.memory import exact_nearest
from nndefense.models.objective import Batch
from nndefense.models.racnn_training import (
    FineTuning,
    FrozenFeatures,
    features_of,
    keys_of,
    own_places,
    start_from,
    training_neighbors,
)
from nndefense.models.simplex import uniform_simplex
from nndefense.models.standardize import Standardized
from nndefense.models.train import train

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CLASSES, ROWS, SIDE = 3, 60, 8
FINETUNED = {"finetune": True, "neighbors": 4}
FROZEN = {"finetune": False, "use_labels": True, "hidden": [12], "projection": 16, "neighbors": 4}


def colours(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images whose brightest channel is their class."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count)
    levels = np.where(np.arange(3) == labels[:, None], 150, 90)[:, None, None, :]
    return (levels + generator.integers(-60, 61, (count, SIDE, SIDE, 3))).astype(np.uint8), labels


@pytest.fixture(scope="module")
def extractor() -> Standardized:
    images, labels = colours(200, seed=1)
    model = build_model("cifar_resnet8", CLASSES, MEAN, STD, seed=1)
    train(model, images, labels, epochs=2, batch=20, learning_rate=0.05, weight_decay=0.0, seed=1, threads=1)
    return model


def network(extractor: Standardized, **options: object) -> Standardized:
    """A network on the extractor, its memory filled with ROWS images."""
    options = {"base": "cifar_resnet8", "rows": ROWS, **options}
    model = build_model("racnn", CLASSES, MEAN, STD, seed=2, options=options)
    start_from(model, extractor)
    images, labels = colours(ROWS, seed=3)
    features = features_of(model, model.net.phi, images, 32)
    model.net.memory.fill(keys_of(model.net, features), features, torch.from_numpy(labels))
    return model


def tensor_images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = colours(count, seed)
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels)


# -- network


@pytest.mark.parametrize("options", [FINETUNED, FROZEN, {**FROZEN, "engine": "lsh"}])
def test_gradient_agrees_with_finite_differences(extractor, options):
    """In float64; neighbours do not change within the differences, so the search is constant."""
    model = network(extractor, **options).double()
    images, labels = (part[:3] for part in tensor_images(3, seed=5))
    images = images.double().requires_grad_()
    loss = lambda x: functional.cross_entropy(model(x), labels, reduction="sum")  # noqa: E731
    (gradient,) = torch.autograd.grad(loss(images), images)
    assert torch.isfinite(gradient).all()
    assert gradient.flatten(1).abs().amax(1).min() > 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            difference = (loss(images + 1e-6 * direction) - loss(images - 1e-6 * direction)) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("options", [FINETUNED, FROZEN, {**FROZEN, "engine": "lsh"}])
def test_saved_network_is_the_same_bit_for_bit(extractor, tmp_path, options):
    model = network(extractor, **options)
    about = {"name": "racnn", "architecture": "racnn", "classes": CLASSES, "mean": MEAN, "std": STD, "provenance": {}}
    about["options"] = model.net.description()
    save_checkpoint(tmp_path / "weights.safetensors", tmp_path / "model.json", model, about)
    opened, read = open_checkpoint(tmp_path / "model.json")
    images, _ = tensor_images(9, seed=6)
    assert torch.equal(opened(images), model(images))
    assert read["options"]["neighbors"] == 4
    about["options"]["rows"] = ROWS - 1
    write_json(tmp_path / "model.json", {**read, "options": about["options"]})
    with pytest.raises(FileFault, match="memory"):
        open_checkpoint(tmp_path / "model.json")


def test_frozen_copy_folds_batch_norms_and_answers_alike(extractor):
    for options in (FINETUNED, FROZEN):
        model = network(extractor, **options)
        copy = freeze(model)
        images, _ = tensor_images(9, seed=6)
        torch.testing.assert_close(copy(images), model(images), rtol=1e-3, atol=1e-4)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in copy.modules())


def test_one_neighbor_and_its_label_classify_as_the_neighbor(extractor):
    model = network(extractor, finetune=False, use_labels=True, neighbors=1)
    net = model.net
    with torch.no_grad():
        net.head[0].weight.zero_()[:, -CLASSES:] = torch.eye(CLASSES)
        net.head[0].bias.zero_()
        images, _ = tensor_images(40, seed=7)
        nearest = exact_nearest(
            net.memory.features,
            features_of(model, net.phi, (images * 255).round().byte().permute(0, 2, 3, 1).numpy(), 40),
            1,
        )[:, 0]
        assert torch.equal(model(images).argmax(1), net.memory.labels[nearest])
    assert len(net.memory.labels[nearest].unique()) == CLASSES


def test_answers_do_not_depend_on_the_batch_or_on_train_mode_of_the_features(extractor):
    model = network(extractor, **FINETUNED)
    images, _ = tensor_images(9, seed=6)
    whole = model(images)
    torch.testing.assert_close(torch.cat([model(images[:2]), model(images[2:])]), whole, rtol=1e-4, atol=1e-5)
    model.train()
    assert model.net.training
    assert not any(part.training for half in (model.net.phi, model.net.retriever) for part in half.modules())
    assert torch.equal(model(images), whole)


def test_attack_raises_the_loss(extractor):
    images, labels = tensor_images(12, seed=8)
    for options in (FINETUNED, FROZEN):
        model = freeze(network(extractor, **options))
        result = PGD(steps=5).run(model, images, labels, epsilon=0.2, ball=RAW, rows=torch.arange(12), seed=1)
        assert result.loss_after.mean() > result.loss_before.mean() + 0.01
        assert result.delta.max() <= 0.2 * (1 + 1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "cifar_resnet8"}, "needs option 'rows'"),
        ({"base": "cifar_resnet8", "rows": 5, "depth": 1}, "has no option 'depth'"),
        ({"base": "cifar_resnet8", "rows": 5, "neighbors": 6}, "neighbors 6"),
        ({"base": "cifar_resnet8", "rows": 5, "neighbors": 5, "hidden": [0]}, "hidden"),
        ({"base": "cifar_resnet8", "rows": 5, "neighbors": 5, "engine": "tree"}, "engine 'tree'"),
        ({"base": "alexnet", "rows": 5, "neighbors": 5}, "alexnet"),
    ],
)
def test_bad_options_give_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_model("racnn", CLASSES, MEAN, STD, options=options)
    assert "\n" not in str(caught.value)


def test_another_extractor_is_refused(extractor):
    other = build_model("racnn", CLASSES, (0.4, 0.5, 0.5), STD, options={"base": "cifar_resnet8", "rows": 20})
    with pytest.raises(InputError, match="mean or std"):
        start_from(other, extractor)
    other = build_model("racnn", CLASSES, MEAN, STD, options={"base": "cifar_resnet14", "rows": 20})
    with pytest.raises(InputError, match="cifar_resnet14"):
        start_from(other, extractor)


# -- training


def test_training_images_are_not_their_own_neighbors(extractor):
    model = network(extractor, **FINETUNED)
    memory = model.net.memory
    # Training rows 0, 2, 4, ... of which memory holds those from 10 on, in its own order, and others.
    rows = np.arange(0, 40, 2)
    memory_rows = np.random.default_rng(0).permutation(np.arange(10, 10 + ROWS))
    own = own_places(memory_rows, rows, same_set=True)
    assert [place if place < 0 else memory_rows[place] for place in own] == [-1] * 5 + list(range(10, 40, 2))
    keys = torch.where(torch.from_numpy(own)[:, None] >= 0, memory.keys[own], torch.randn(20, 64))
    found = training_neighbors(model.net, keys, own, 4, batch=7)
    for query, place, ids in zip(keys, own, found, strict=True):
        everything = exact_nearest(memory.keys, query[None], ROWS)[0].tolist()
        assert ids.tolist() == [one for one in everything if one != place][:4]
    assert (own_places(memory_rows, rows, same_set=False) == -1).all()


def test_full_memory_leaves_no_other_neighbors(extractor):
    model = network(extractor, **FINETUNED)
    with pytest.raises(InputError, match="61 neighbours of 60 rows"):
        training_neighbors(model.net, model.net.memory.keys[:1], np.zeros(1, np.int64), ROWS)


def objective(extractor: Standardized, options: dict, **more: int):
    """A network, its training images, and the objective that fits its options."""
    model = network(extractor, **options)
    images, labels = colours(120, seed=9)
    features = features_of(model, model.net.phi, images, 64)
    places = training_neighbors(model.net, keys_of(model.net, features), np.full(120, -1), 4)
    if options["finetune"]:
        return model, images, labels, FineTuning(colours(ROWS, seed=3)[0], places, **more)
    return model, images, labels, FrozenFeatures(features, places)


def mean_loss(model: Standardized, objective, labels: np.ndarray, step: int) -> float:
    rows = np.arange(120)
    images = torch.from_numpy(colours(120, seed=9)[0]).permute(0, 3, 1, 2).float() / 255
    batch = Batch(images, torch.from_numpy(labels), rows, step, torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float(objective(model, batch)[0])


@pytest.mark.parametrize(
    ("options", "settings", "step"),
    [(FINETUNED, {"mixup": 0}, 0), (FINETUNED, {"ordinary": 1, "mixup": 5}, 1), (FROZEN, {}, 0)],
)
def test_training_reduces_the_loss_and_changes_what_it_may(extractor, options, settings, step):
    model, images, labels, minimised = objective(extractor, options, **settings)
    for layer in model.net.head:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    if options["finetune"]:
        nn.init.zeros_(model.net.head[0].weight)
    before = mean_loss(model, minimised, labels, step)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    train(
        model,
        images,
        labels,
        epochs=3,
        batch=20,
        learning_rate=0.02,
        weight_decay=0.0,
        seed=1,
        threads=1,
        objective=minimised,
        parameters=model.net.trainable(),
    )
    assert mean_loss(model, minimised, labels, step) < before - 0.1
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, state[key])}
    assert {"net.attention.weight"} < changed
    moving = ("net.head", "net.attention") + (("net.phi",) if options["finetune"] else ())
    assert all(key.startswith(moving) and "running" not in key for key in changed)
    assert any(key.startswith("net.phi") for key in changed) == options["finetune"]


def test_updates_alternate_and_mixup_is_the_formula(extractor):
    model, images, labels, minimised = objective(extractor, FINETUNED, ordinary=2, mixup=3)
    rows = np.arange(6)
    inputs = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float() / 255
    batches = [
        Batch(inputs, torch.from_numpy(labels[rows]), rows, step, torch.Generator().manual_seed(4))
        for step in range(10)
    ]
    with torch.no_grad():
        losses = [float(minimised(model, batch)[0]) for batch in batches]
    ordinary, mixed = losses[0], losses[2]
    assert ordinary != mixed
    assert losses == [ordinary, ordinary, mixed, mixed, mixed] * 2
    net, memory = model.net, model.net.memory
    weights = uniform_simplex(6, 4, torch.Generator().manual_seed(4))
    expected = 0.0
    for image in range(6):
        places = minimised.neighbors[image]
        with torch.no_grad():
            features = features_of(model, net.phi, colours(ROWS, seed=3)[0][places], 4)
            log = net.head((weights[image, :, None] * features).sum(0)).log_softmax(0)
        expected -= sum(float(weights[image, n] * log[memory.labels[places[n]]]) for n in range(4)) / 6
    assert mixed == pytest.approx(expected, rel=1e-4)
    with torch.no_grad():
        # Outside of training, the network finds the same neighbours and has the features of phi in memory.
        answer = functional.cross_entropy(model(inputs), torch.from_numpy(labels[rows]))
    assert ordinary == pytest.approx(float(answer), rel=1e-4)


def test_gradients_of_fine_tuning_reach_the_neighbors_and_not_the_search(extractor):
    model, images, labels, minimised = objective(extractor, FINETUNED, ordinary=1, mixup=1)
    inputs = torch.from_numpy(images[:4]).permute(0, 3, 1, 2).float() / 255
    for step in (0, 1):
        model.zero_grad(set_to_none=True)
        batch = Batch(inputs, torch.from_numpy(labels[:4]), np.arange(4), step, torch.Generator().manual_seed(0))
        minimised(model, batch)[0].backward()
        assert model.net.phi.conv1.weight.grad.abs().sum() > 0
        assert all(parameter.grad is None for parameter in model.net.retriever.parameters())
        assert (model.net.attention.weight.grad is None) == (step == 1)
