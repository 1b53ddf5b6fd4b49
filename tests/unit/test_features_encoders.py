"""Layers of networks of other libraries: what is recorded, pooled and refused, against these libraries themselves."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from nndefense.core.errors import ConfigError, InputError
from nndefense.features.extract import FeatureExtractor
from nndefense.features.graph import GraphExtractor, graph_of
from nndefense.features.names import PATTERN, parse_layer
from nndefense.models.build import build_model, freeze
from nndefense.models.standardize import Standardized
from nndefense.models.weights import apply_weights

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def drawn(count: int, side: int) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(side))


@pytest.fixture(scope="module")
def vit() -> Standardized:
    pytest.importorskip("timm")
    return freeze(build_model("timm/vit_tiny_patch16_224", 0, MEAN, STD, seed=1))


class Chain(nn.Module):
    """Two convolutions, whose activation is written over in place, and a module that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.spare = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = x.relu_()
        return self.second(y).mean((2, 3))


def chain() -> Standardized:
    torch.manual_seed(0)
    return Standardized(Chain(), [0, 0, 0], [1, 1, 1], "chain", 5).eval()


def test_tokens_of_a_transformer(vit):
    images = drawn(2, 48)
    layers = ["v@blocks.3", "v@blocks.3-CLS", "v@blocks.3-CLS-L2", "v@blocks.3-L2", "v@norm"]
    with torch.no_grad():
        found, logits = FeatureExtractor(vit, layers)(images)
        standard = (images - vit.mean) / vit.std
        outputs = vit.net.forward_intermediates(standard, indices=[3], return_prefix_tokens=True)[1][0]
        patches, prefix = outputs[0].flatten(2).mean(2), outputs[1][:, 0]
        final = vit.net.forward_features(standard)[:, 1:].mean(1)
    for name, expected in {
        "v@blocks.3": patches,
        "v@blocks.3-CLS": prefix,
        "v@blocks.3-CLS-L2": functional.normalize(prefix, dim=1),
        "v@blocks.3-L2": functional.normalize(patches, dim=1),
        "v@norm": final,
    }.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-5, msg=name)
    assert logits.shape == (2, 192)


def test_a_pass_stops_once_all_layers_are_there_whatever_their_order(vit):
    calls: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, number=number: calls.append(number))
        for number, block in enumerate(vit.net.blocks)
    ]
    for layers in (["blocks.5", "blocks.1"], ["blocks.1", "blocks.5"]):
        calls.clear()
        found, logits = FeatureExtractor(vit, layers, stop_early=True)(drawn(1, 32))
        assert logits is None
        assert calls == list(range(6))
        assert set(found) == set(layers)
    for handle in handles:
        handle.remove()


def test_timms_resnets_have_the_papers_layers():
    """A ResNet of timm with torchvision's weights gives torchvision's features, block by block."""
    pytest.importorskip("timm")
    ours = build_model("resnet18", 10, MEAN, STD, seed=2)
    theirs = apply_weights(build_model("timm/resnet18", 10, MEAN, STD), ours.net.state_dict(), "timm/resnet18")
    images, layers = drawn(2, 64), ["conv_2_2", "conv_4_1", "conv_5_1", "conv_5_1-RMAC"]
    with torch.no_grad():
        expected, found = (FeatureExtractor(freeze(one), layers)(images) for one in (ours, theirs))
    for layer in layers:
        torch.testing.assert_close(found[0][layer], expected[0][layer], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)


def test_maps_by_path_and_their_sides():
    model, images = build_model("torchvision/resnet18", 10, MEAN, STD, seed=2), drawn(2, 64)
    with torch.no_grad():
        found, _ = FeatureExtractor(model, ["layer3.0", "conv_4_1"], {"layer3.0": 2})(images)
        maps, _ = FeatureExtractor(model, ["layer3.0", "conv_4_1"]).maps(images)
    # The paper's values are those before the last ReLU, the module's own are behind it.
    assert torch.equal(maps["layer3.0"], maps["conv_4_1"].relu())
    assert torch.equal(found["layer3.0"], functional.adaptive_avg_pool2d(maps["layer3.0"], 2).flatten(1))


def test_what_is_written_over_later_is_kept():
    model, images = chain(), drawn(2, 8)
    with torch.inference_mode():
        maps, _ = FeatureExtractor(model, ["first"]).maps(images)
        assert torch.equal(maps["first"], functional.conv2d(images, *model.net.first.parameters()))
    assert (maps["first"] < 0).any()


def test_gradients_reach_the_images_through_a_module():
    images = drawn(1, 8).requires_grad_()
    FeatureExtractor(chain(), ["second"], stop_early=True)(images)[0]["second"].sum().backward()
    assert images.grad.abs().sum() > 0


def test_one_graph_gives_the_same_as_hooks():
    images = drawn(2, 32)
    plain = Standardized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3)), [0, 0, 0], [1, 1, 1]).eval()
    extractor = FeatureExtractor(plain, ["1", "0"], stop_early=True)
    graph = graph_of(extractor)
    with torch.no_grad():
        expected, found = extractor(images)[0], GraphExtractor(extractor, graph)(images)[0]
    for layer in ("0", "1"):
        assert torch.equal(found[layer], expected[layer])


def test_a_module_within_which_tracing_goes_on_has_no_graph():
    model = build_model("torchvision/resnet18", 10, MEAN, STD)
    assert graph_of(FeatureExtractor(model, ["layer2"])) is None
    assert graph_of(FeatureExtractor(model, ["layer2.0.conv1"])) is not None


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("blocks.99", "'blocks.99': no module of timm/vit_tiny_patch16_224; allowed: blocks.9"),
        ("conv_4_1", "'conv_4_1': not in timm/vit_tiny_patch16_224; allowed: none"),
    ],
)
def test_layers_that_are_not_there(vit, layer, said):
    with pytest.raises(ConfigError) as caught:
        FeatureExtractor(vit, [layer])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_of_another_form(vit):
    for layer, allowed in (("blocks.1-RMAC", r"\(B, C, H, W\)"), ("patch_embed.proj-CLS", r"\(B, tokens, D\)")):
        with pytest.raises(ConfigError, match=f"'{layer}': gives .*; allowed: {allowed}"):
            FeatureExtractor(vit, [layer])(drawn(1, 32))
    with pytest.raises(ConfigError, match="'spare': the network does not call it"):
        FeatureExtractor(chain(), ["spare"])(drawn(1, 8))


def test_activations_in_place_are_refused():
    model = Standardized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(inplace=True)), [0, 0, 0], [1, 1, 1]).eval()
    with pytest.raises(InputError, match="in-place"):
        FeatureExtractor(model, [])


def test_the_pattern_of_the_configuration_takes_what_the_parser_takes():
    for name in ("conv_4_1", "conv_4_1-RMAC", "a@b.c.1-CLS-L2", "blocks.11", "x_1@visual-L2", "fc", "x@1"):
        assert re.fullmatch(PATTERN, name), name
        parse_layer(name)
    for name in ("a@", "b..c", "x-CLS-RMAC", "x-RMAC-L2", "a@b@c", "", "a/b", "../x"):
        assert not re.fullmatch(PATTERN, name), name
