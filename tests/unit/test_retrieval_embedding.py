"""Embeddings: of norm 1, never longer once stored, along scikit-learn's directions, the same from disk."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn
from torch.nn import functional

from nndefense.core.errors import ConfigError, InputError
from nndefense.models.build import build_model
from nndefense.models.checkpoint import save_checkpoint
from nndefense.models.embedding import (
    OUTPUTS,
    Embedding,
    Transform,
    as_stored,
    class_prototypes,
    fit_transform,
    open_embedding,
    write_transform,
)
from nndefense.models.standardize import Standardized

from .attack_cases import MEAN, STD, Curved

SIZE, WIDTH, CLASSES = 6, 7, 4


def network(scale=1.0):
    torch.manual_seed(4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))
    with torch.no_grad():
        net[3].weight *= scale
    return Standardized(net, MEAN, STD, classes=CLASSES).eval()


def pictures(count=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def pixels(images):
    return torch.from_numpy(images.astype(np.float32).transpose(0, 3, 1, 2)) / 255


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 9, 128, 2048]), st.sampled_from([0.02, 1.0, 4.0]))
def test_stored_vectors_are_the_embeddings_rounded_towards_zero_and_never_longer_than_one(seed, width, spread):
    rng = np.random.default_rng(seed)
    # From one dominant entry to all alike.
    values = torch.from_numpy(rng.standard_normal((50, width)) * np.exp(spread * rng.standard_normal((50, width))))
    vectors = functional.normalize(values.float(), dim=1)
    stored = as_stored(vectors)
    assert stored.dtype == np.float16
    assert (np.linalg.norm(stored.astype(np.float64), axis=1) <= 1).all()
    exact, short = vectors.numpy().astype(np.float64), stored.astype(np.float64)
    assert (np.abs(short) <= np.abs(exact)).all()
    assert (short * exact >= 0).all()
    step = np.spacing(np.abs(stored)).astype(np.float64)
    assert (np.abs(exact) - np.abs(short) <= step + 1e-6 * np.abs(exact)).all()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", ["none", "center", "lda"])
def test_embeddings_have_norm_one(output, kind):
    plain = Embedding(network(), output)
    training = pictures(60, seed=1)
    with torch.no_grad():
        features = plain.features(pixels(training)).numpy()
        embedding = Embedding(network(), output, fit_transform(kind, features, np.arange(60) % 5))
        vectors = embedding(pixels(pictures(40)) * 3 - 1)
    np.testing.assert_allclose(np.linalg.norm(vectors.numpy().astype(np.float64), axis=1), 1, atol=1e-6)
    assert (np.linalg.norm(as_stored(vectors).astype(np.float64), axis=1) <= 1).all()
    expected = {"features": WIDTH, "softmax": CLASSES, "output": CLASSES}[output]
    assert vectors.shape == (40, min(4, expected) if kind == "lda" else expected)


def test_outputs_are_features_before_the_last_layer_roots_of_probabilities_or_what_comes_out():
    model, images = network(), pixels(pictures())
    with torch.no_grad():
        logits = model(images)
        hidden = model.net[:3]((images - model.mean) / model.std)
        features, roots, outputs = (Embedding(model, output).features(images) for output in OUTPUTS)
    torch.testing.assert_close(features, hidden)
    torch.testing.assert_close(roots, logits.softmax(dim=1).sqrt())
    torch.testing.assert_close(outputs, logits)
    torch.testing.assert_close(model(images), logits)


def test_roots_of_probabilities_are_never_negative_and_have_a_slope_where_a_probability_vanishes():
    embedding, images = Embedding(network(scale=400.0), "softmax"), pixels(pictures(30)).requires_grad_()
    assert embedding.nonnegative
    vectors = embedding(images)
    assert functional.softmax(network(400.0)(images), dim=1).detach().min() == 0
    assert (as_stored(vectors) >= 0).all()
    vectors.sum().backward()
    assert torch.isfinite(images.grad).all()
    centred = fit_transform("center", embedding.features(images).detach().numpy(), np.zeros(30, dtype=int))
    assert not Embedding(network(), "softmax", centred).nonnegative
    assert not Embedding(network(), "features").nonnegative
    assert Embedding(network(), "softmax", Transform(np.zeros(CLASSES, dtype=np.float32))).nonnegative


def test_no_features_give_zero_and_no_division_by_it():
    model = network()
    with torch.no_grad():
        model.net[1].weight.zero_()
        model.net[1].bias.fill_(-1)
        vectors = Embedding(model, "features")(pixels(pictures()))
    assert torch.equal(vectors, torch.zeros(5, WIDTH))


def test_discriminant_directions_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(4), 25)
    features = (rng.standard_normal((100, 9)) @ rng.standard_normal((9, 9)) + labels[:, None] + 5).astype(np.float32)
    found = fit_transform("lda", features, labels * 10 + 3)
    assert found.directions.shape == (9, 3)
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(features, labels)
    points = rng.standard_normal((20, 9)) * 3
    centre = features.mean(axis=0, dtype=np.float64)[None]
    expected = reference.transform(points) - reference.transform(centre)
    ours = (points - found.mean) @ found.directions
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    # Few features bound the directions, and one that never changes does not matter.
    assert fit_transform("lda", features[:, :2], labels).directions.shape == (2, 2)
    dead = np.concatenate([features, np.full((100, 1), 2, dtype=np.float32)], axis=1)
    assert np.isfinite(fit_transform("lda", dead, labels).directions).all()


def test_discriminant_directions_tell_classes_apart_that_angles_do_not():
    rng = np.random.default_rng(5)
    labels = np.arange(300) % 3
    features = rng.standard_normal((300, 6)) * [20, 20, 20, 1, 1, 1] + 40
    features[:, 4] += 6 * labels
    features[:, 5] += 6 * (labels == 1)
    found = fit_transform("lda", features.astype(np.float32), labels)

    def recall(vectors):
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = vectors @ vectors.T - 3 * np.eye(len(vectors))
        return (labels[cosines.argmax(axis=1)] == labels).mean()

    assert recall(features) < 0.75
    assert recall((features - found.mean) @ found.directions) > 0.9


def test_other_transforms_subtract_the_mean_or_nothing_and_bad_ones_are_named():
    features = np.random.default_rng(1).random((30, 5)).astype(np.float32)
    labels = np.zeros(30, dtype=int)
    np.testing.assert_allclose(fit_transform("center", features, labels).mean, features.mean(axis=0), rtol=1e-6)
    assert not fit_transform("none", features, labels).mean.any()
    assert fit_transform("center", features, labels).directions is None
    with pytest.raises(ConfigError, match="transform 'pca' is unknown; allowed: none, center, lda"):
        fit_transform("pca", features, labels)
    with pytest.raises(InputError, match="'lda' needs images of two classes or more, got 1"):
        fit_transform("lda", features, labels)
    with pytest.raises(ConfigError, match="output 'logits' is unknown; allowed: features, softmax, output"):
        Embedding(network(), "logits")
    with pytest.raises(ConfigError, match="ends in a linear layer of 3 outputs is needed"):
        Embedding(Standardized(Curved(SIZE), MEAN, STD, classes=3), "features")


def test_transform_is_applied_before_the_scaling():
    rng = np.random.default_rng(2)
    transform = Transform(rng.random(WIDTH).astype(np.float32), rng.standard_normal((WIDTH, 3)).astype(np.float32))
    images = pixels(pictures())
    with torch.no_grad():
        features = Embedding(network(), "features").features(images)
        found = Embedding(network(), "features", transform)(images)
    expected = (features.numpy() - transform.mean) @ transform.directions
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["none", "center", "lda"])
def test_an_embedding_on_disk_is_the_one_that_was_fitted(tmp_path, kind):
    model = build_model("cifar_resnet8", 5, MEAN, STD, seed=3)
    images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = Embedding(model, "features").features(images).numpy()
        transform = fit_transform(kind, features, np.arange(12) % 3)
        expected = Embedding(model, "features", transform)(images)
    about = {"name": "m", "architecture": "cifar_resnet8", "classes": 5, "mean": MEAN, "std": STD}
    save_checkpoint(tmp_path / "weights.safetensors", tmp_path / "model.json", model, about)
    write_transform(tmp_path / "lda.npz", transform)
    found = open_embedding(str(tmp_path / "model.json"), "features", [str(tmp_path / "lda.npz")])
    torch.testing.assert_close(found(images), expected, rtol=1e-4, atol=1e-5)
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    plain = open_embedding(str(tmp_path / "model.json"), "features", [])(images)
    assert (plain.shape == expected.shape and torch.allclose(plain, expected, atol=1e-5)) == (kind == "none")


def test_prototypes_are_means_of_classes():
    rng = np.random.default_rng(4)
    vectors, labels = rng.random((30, 6)).astype(np.float16), rng.permutation(np.arange(30) % 4) * 7
    found, classes = class_prototypes(vectors, labels)
    assert classes.tolist() == [0, 7, 14, 21]
    assert found.dtype == np.float64
    for vector, label in zip(found, classes, strict=True):
        own = [row.astype(np.float64) for row, one in zip(vectors, labels, strict=True) if one == label]
        np.testing.assert_allclose(vector, sum(own) / len(own), rtol=1e-12)
