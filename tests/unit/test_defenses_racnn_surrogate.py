"""What an attacker of a retrieval-augmented network differentiates: attention and search."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nndefense.attacks.pgd import PGD
from nndefense.axes.ball import RAW
from nndefense.core import devices
from nndefense.core.errors import ConfigError, InputError
from nndefense.core.registry import make
from nndefense.defenses import DEFENSES, retrieval_augmented
from nndefense.defenses.none import NoDefense
from nndefense.defenses.retrieval_augmented import RetrievalAugmentedNetwork, candidates_of
from nndefense.models.build import build_model, freeze
from nndefense.models.computing import Computing
from nndefense.models.memory import exact_nearest
from nndefense.models.racnn_training import standardized
from nndefense.models.standardize import Standardized

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CLASSES, ROWS, SIDE, N = 3, 60, 8, 4
# Few tables, so that hashing misses neighbours of some images.
LSH = {"engine": "lsh", "hashes": 3, "tables": 6, "width": 6.0}
CASES = {
    "finetuned": {"finetune": True},
    "finetuned-projection-labels": {"finetune": True, "projection": 16, "use_labels": True, "hidden": [12]},
    "finetuned-lsh": {"finetune": True, **LSH},
    "frozen": {"finetune": False},
    "frozen-labels": {"finetune": False, "use_labels": True},
    "frozen-projection-labels-lsh": {"finetune": False, "projection": 16, "use_labels": True, "hidden": [12], **LSH},
}
every_network = pytest.mark.parametrize("options", CASES.values(), ids=CASES)


def draw_images(count: int, seed: int = 5) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def network(**options: object) -> Standardized:
    """A network whose search has an extractor of its own where it is fine-tuned, its memory filled with ROWS images."""
    options = {"base": "cifar_resnet8", "rows": ROWS, "neighbors": N, **options}
    model = build_model("racnn", CLASSES, MEAN, STD, seed=2, options=options)
    net, generator = model.net, torch.Generator().manual_seed(3)
    with torch.no_grad():
        net.attention.weight.add_(0.05 * torch.randn(net.attention.weight.shape, generator=generator))
        for weight in net.head.parameters():
            weight.mul_(3)
        for seed, part in enumerate(one for one in (net.phi, net.retriever) if one is not None):
            for weight in part.parameters():
                weight.mul_(1 + 0.1 * torch.randn(weight.shape, generator=generator))
            # Statistics of images, so that features differ.
            part.train()(standardized(model, draw_images(ROWS, seed)))
            part.eval()
        shown = standardized(model, draw_images(ROWS, seed=7))
        features = net.phi(shown)
        labels = torch.from_numpy(np.random.default_rng(3).integers(0, CLASSES, ROWS))
        net.memory.fill(net.query(shown, features), features, labels)
    return freeze(model)


def surrogate(model: Standardized, images: torch.Tensor, **options: object) -> torch.Tensor:
    rows = torch.arange(len(images))
    return RetrievalAugmentedNetwork(**options).differentiable(model, images, rows, 0, {})


# -- value


@every_network
@pytest.mark.parametrize("candidates", [1, 3, 100])
def test_it_becomes_the_network_as_the_temperature_falls(options, candidates):
    model, images = network(**options), draw_images(20)
    exact, gaps = model(images), []
    for temperature in (1.0, 0.1, 0.01, 1e-4, 1e-6):
        found = surrogate(model, images, temperature=temperature, candidates=candidates)
        gaps.append((found - exact).abs().max().item())
    assert exact.std(dim=0).min() > 0.01
    assert gaps[-1] < 1e-5
    assert gaps[-1] <= gaps[2] <= gaps[0]
    if candidates > 1:
        assert gaps[0] > 1e-3


@every_network
def test_it_follows_its_formula(options):
    model, images = network(**options), draw_images(6)
    net, memory = model.net, model.net.memory
    found = surrogate(model, images, temperature=0.4, candidates=3)
    shown = standardized(model, images)
    features = net.phi(shown)
    queries = net.query(shown, features)
    near, most = memory.nearest(queries, N), memory.nearest(queries, 3 * N)
    for image in range(6):
        distances = (queries[image] - memory.keys).square().sum(1)
        own = near[image].tolist()
        last = distances[own].max()
        others = [one for one in most[image].tolist() if one not in own and distances[one] >= last]
        reach = (last + distances[others].min()) / 2
        places = own + others
        membership = torch.sigmoid((reach - distances[places]) / (0.4 * reach))
        scores = memory.features[places] @ net.attention.weight.T @ features[image]
        weights = membership * torch.exp(scores - scores.max())
        weights = weights / weights.sum()
        expected = net.classify(weights[None], memory.features[places][None], memory.labels[places][None])
        torch.testing.assert_close(found[image], expected[0], rtol=1e-4, atol=1e-5)


@every_network
def test_its_features_are_lowered_where_gradients_are(options, monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    model, images, seen = network(**options), draw_images(20), []
    for part in (model.net.phi, model.net.retriever):
        if part is not None:
            part.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    exact = surrogate(model, images, temperature=0.4)
    with Computing("bf16").lowered("cpu"):
        found = surrogate(model, images, temperature=0.4)
    each = len(seen) // 2
    assert seen == each * [torch.float32] + each * [torch.bfloat16]
    assert each == 1 + options["finetune"]
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.1 * exact.abs().max()


def test_what_the_hash_tables_miss_does_not_count():
    model = network(finetune=False, **LSH)
    memory, images = model.net.memory, draw_images(40)
    queries = model.net.phi(standardized(model, images))
    found, exact = memory.nearest(queries, N), exact_nearest(memory.keys, queries, N)
    assert (found != exact).any(dim=1).sum() > 3
    assert (found == exact).all(dim=1).sum() > 3
    places, valid = candidates_of(memory, queries, N, 5 * N)
    for image in range(40):
        counted = places[image][valid[image]].tolist()
        assert len(counted) == len(set(counted)) > N
        distances = (queries[image] - memory.keys[counted]).norm(dim=1)
        assert set(np.array(counted)[distances.argsort()[:N].numpy()]) == set(found[image].tolist())


def test_scores_far_above_those_of_the_neighbors_leave_the_neighbors():
    model = network(finetune=False)
    memory, images = model.net.memory, draw_images(5)
    with torch.no_grad():
        queries = model.net.phi(standardized(model, images))
        outside = ~torch.zeros(ROWS).scatter(0, memory.nearest(queries, N).ravel(), 1.0).bool()
        nn.init.eye_(model.net.attention.weight)
        memory.features[outside] *= 20
        scores = memory.features @ queries.T
    assert (scores[outside].amin(0) - scores[~outside].amax(0)).min() > 200
    found = surrogate(model, images.requires_grad_(), temperature=1e-7)
    torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(torch.autograd.grad(found.sum(), images)[0]).all()


@every_network
def test_no_image_depends_on_its_batch(options):
    model, images = network(**options), draw_images(7)
    whole = surrogate(model, images)
    alone = torch.cat([surrogate(model, images[row : row + 1]) for row in range(7)])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-5)


def test_a_query_that_is_in_memory_stays_finite():
    model, images = network(finetune=False), draw_images(ROWS, seed=7)[:3]
    model.net.memory.keys[1:9] = model.net.memory.keys[0].clone()
    for temperature in (1.0, 1e-6):
        found = surrogate(model, images.requires_grad_(), temperature=temperature)
        (gradient,) = torch.autograd.grad(found.logsumexp(1).sum(), images)
        assert torch.isfinite(found).all()
        assert torch.isfinite(gradient).all()


# -- gradient


@every_network
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_gradients_are_those_of_finite_differences(options, temperature, monkeypatch):
    """In float64; the reach and the candidates are constant."""
    model, images = network(**options).double(), draw_images(3).double()
    borders, reach = [], retrieval_augmented.reach
    monkeypatch.setattr(retrieval_augmented, "reach", lambda *found: borders.append(reach(*found)) or borders[0])

    def loss(shown: torch.Tensor) -> torch.Tensor:
        found = surrogate(model, shown, temperature=temperature, candidates=3)
        return functional.cross_entropy(found, torch.arange(3), reduction="sum")

    images.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(images), images)
    assert gradient.flatten(1).abs().amax(1).min() > 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            difference = (loss(images + 1e-6 * direction) - loss(images - 1e-6 * direction)) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-4, abs=1e-8)


@every_network
def test_gradients_flow_through_the_search(options):
    """Where all neighbours count alike, the network itself has no gradient at all."""
    model, images = network(**options), draw_images(4).requires_grad_()
    (own,) = torch.autograd.grad(model(images)[:, 0].sum(), images)
    (found,) = torch.autograd.grad(surrogate(model, images)[:, 0].sum(), images)
    assert functional.cosine_similarity(own.flatten(1), found.flatten(1)).max() < 0.99
    with torch.no_grad():
        model.net.attention.weight.zero_()
    (own,) = torch.autograd.grad(model(images)[:, 0].sum(), images)
    (found,) = torch.autograd.grad(surrogate(model, images)[:, 0].sum(), images)
    assert not own.any()
    assert found.flatten(1).abs().amax(1).min() > 0


def test_the_search_of_a_fine_tuned_network_is_moved_by_its_own_features():
    model, images = network(finetune=True), draw_images(4).requires_grad_()
    with torch.no_grad():
        model.net.attention.weight.zero_()
    before = torch.autograd.grad(surrogate(model, images)[:, 0].sum(), images)[0]
    with torch.no_grad():
        model.net.phi.conv1.weight.mul_(2)
    torch.testing.assert_close(torch.autograd.grad(surrogate(model, images)[:, 0].sum(), images)[0], before)


# -- defence


@every_network
def test_probabilities_are_those_of_the_network(options):
    model, images = network(**options), draw_images(5)
    bound = make("defense", DEFENSES, "racnn", {"temperature": 0.5}).bind(model)
    found = bound.probabilities(images, rows=torch.arange(5), seed=0)
    assert torch.equal(found, model(images).softmax(dim=1))
    assert not bound.defense.random
    logits = bound.surrogate(images, rows=torch.arange(5), seed=0, draws=3)
    assert torch.equal(logits, surrogate(model, images, temperature=0.5))


@every_network
def test_attacks_through_it_do_more_harm_than_those_of_the_networks_own_gradient(options):
    model, images = network(**options), draw_images(30)
    labels, harm = model(images).argmax(dim=1), []
    for defense in (NoDefense(), RetrievalAugmentedNetwork()):
        result = PGD(steps=10).run(
            defense.bind(model), images, labels, epsilon=0.1, ball=RAW, rows=torch.arange(30), seed=1
        )
        harm.append(float(functional.cross_entropy(model(result.images), labels)))
    assert harm[1] > 1.05 * harm[0]


def test_another_network_is_refused():
    plain = build_model("cifar_resnet8", CLASSES, MEAN, STD)
    for model, name in ((plain, "cifar_resnet8"), (network().net, "a bare RetrievalAugmented")):
        with pytest.raises(InputError, match=f"needs a retrieval-augmented network.*; got {name}$") as caught:
            RetrievalAugmentedNetwork().bind(model)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("option", "value"), [("temperature", 0.0), ("candidates", 0), ("candidates", 1.5)])
def test_bad_options_are_named(option, value):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}"):
        make("defense", DEFENSES, "racnn", {option: value})
