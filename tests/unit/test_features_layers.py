"""Layers, pooling and extraction: the residual + shortcut sum of all layers in one pass."""

import numpy as np
import pytest
import torch

from nndefense.core.errors import ConfigError, InputError
from nndefense.features.extract import FeatureExtractor, extract_features, finite_rows
from nndefense.features.layers import available_layers, default_layers, find_tap
from nndefense.features.names import parse_layer
from nndefense.features.pooling import pool_features, pool_side
from nndefense.models.build import build_model, freeze
from nndefense.models.predict import predict_softmax

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PAPER_LAYERS = ["conv_2_3", "conv_3_4", "conv_4_6", "conv_5_1"]


@pytest.fixture(scope="module")
def models():
    torch.set_num_threads(1)
    sides = {"resnet50": 224, "resnet18": 64, "cifar_resnet14": 32}
    generator = torch.Generator().manual_seed(0)
    return {
        name: (freeze(build_model(name, 10, MEAN, STD)), torch.rand(1, 3, side, side, generator=generator))
        for name, side in sides.items()
    }


@pytest.fixture(params=["resnet50", "resnet18", "cifar_resnet14"])
def case(request, models):
    return models[request.param]


def test_layer_names():
    assert parse_layer("conv_5_1").block == (5, 1)
    assert parse_layer("conv_4_23").block == (4, 23)
    assert parse_layer("layer4.0") == (None, "layer4.0", "", False)
    assert parse_layer("dino@blocks.11-CLS-L2") == ("dino", "blocks.11", "-CLS", True)
    assert parse_layer("dino@visual-L2") == ("dino", "visual", "", True)
    for name in (
        "conv_1_1",
        "conv_5_0",
        "conv_5_1 ",
        "conv_5_1_2",
        ".layer4",
        "a@b@c",
        "x-L2-CLS",
        "x-RMAC-L2",
        "@x",
        "",
    ):
        with pytest.raises(ConfigError, match="such as conv_5_1"):
            parse_layer(name)


def test_available_layers_follow_the_blocks(models):
    assert available_layers(models["resnet18"][0]) == [f"conv_{s}_{b}" for s in (2, 3, 4, 5) for b in (1, 2)]
    assert len(available_layers(models["resnet50"][0])) == 3 + 4 + 6 + 3
    assert available_layers(models["cifar_resnet14"][0])[-1] == "conv_4_2"


def test_default_layers_are_the_papers(models):
    assert default_layers(models["resnet50"][0]) == PAPER_LAYERS
    assert default_layers(models["cifar_resnet14"][0]) == ["conv_2_2", "conv_3_2", "conv_4_2"]


def test_absent_layer_lists_the_allowed_ones(models):
    with pytest.raises(ConfigError, match="'conv_5_1': not in cifar_resnet14; allowed: conv_2_1, conv_2_2, ") as e:
        find_tap(models["cifar_resnet14"][0], "conv_5_1")
    assert "\n" not in str(e.value)


def test_shapes_of_resnet50_equal_table_3(models):
    model, images = models["resnet50"]
    extractor = FeatureExtractor(model, PAPER_LAYERS)
    with torch.no_grad():
        maps, _ = extractor.maps(images)
        features, logits = extractor(images)
    assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == {
        "conv_2_3": (256, 56, 56),
        "conv_3_4": (512, 28, 28),
        "conv_4_6": (1024, 14, 14),
        "conv_5_1": (2048, 7, 7),
    }
    assert {k: v.shape[1] for k, v in features.items()} == {
        "conv_2_3": 256 * 7 * 7,
        "conv_3_4": 512 * 7 * 7,
        "conv_4_6": 1024 * 4 * 4,
        "conv_5_1": 2048,
    }
    assert logits.shape == (1, 10)


def test_values_are_before_the_last_relu(case):
    model, images = case
    layers = default_layers(model)
    outputs = {}
    for layer in layers:
        find_tap(model, layer).end.register_forward_hook(lambda _m, _x, out, layer=layer: outputs.update({layer: out}))
    with torch.no_grad():
        maps, _ = FeatureExtractor(model, layers).maps(images)
    for layer in layers:
        find_tap(model, layer).end._forward_hooks.clear()
        assert (maps[layer] < 0).float().mean() > 0.01
        assert torch.equal(torch.relu(maps[layer]), outputs[layer])


def test_values_are_the_sum_of_residual_and_shortcut(models):
    model, images = models["resnet18"]
    net = model.net
    with torch.no_grad():
        maps, _ = FeatureExtractor(model, ["conv_2_2"]).maps(images)
        stem = net.maxpool(torch.relu(net.bn1(net.conv1((images - model.mean) / model.std))))
        shortcut = net.layer1[0](stem)
        block = net.layer1[1]
        residual = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(shortcut)))))
    torch.testing.assert_close(maps["conv_2_2"], residual + shortcut)


def test_agrees_with_torchvisions_extractor(models):
    from torchvision.models.feature_extraction import create_feature_extractor

    model, images = models["resnet18"]
    nodes = {"layer1.1.add": "conv_2_2", "layer4.0.add": "conv_5_1"}
    reference = create_feature_extractor(model.net, return_nodes=nodes)
    with torch.no_grad():
        expected = reference((images.contiguous(memory_format=torch.channels_last) - model.mean) / model.std)
        maps, _ = FeatureExtractor(model, list(nodes.values())).maps(images)
    assert all(torch.equal(maps[layer], expected[layer]) for layer in nodes.values())


def test_one_pass_equals_each_layer_alone_and_the_plain_model(case):
    model, images = case
    layers = default_layers(model)
    with torch.no_grad():
        features, logits = FeatureExtractor(model, layers)(images)
        assert torch.equal(logits, model(images))
        for layer in layers:
            alone, _ = FeatureExtractor(model, [layer])(images)
            early, nothing = FeatureExtractor(model, [layer], stop_early=True)(images)
            assert nothing is None
            assert torch.equal(alone[layer], features[layer])
            assert torch.equal(early[layer], features[layer])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_early_stop_runs_no_later_block(models):
    model, images = models["cifar_resnet14"]
    calls = []
    handle = model.net.layer3.register_forward_hook(lambda *_: calls.append(1))
    FeatureExtractor(model, ["conv_3_2", "conv_2_1"], stop_early=True)(images)
    assert not calls
    FeatureExtractor(model, ["conv_3_2"])(images)
    assert calls
    handle.remove()


@pytest.mark.parametrize("stop_early", [False, True])
def test_gradients_reach_the_images(models, stop_early):
    model, images = models["cifar_resnet14"]
    x = images.clone().requires_grad_(True)
    features, logits = FeatureExtractor(model, ["conv_3_2"], stop_early=stop_early)(x)
    (gradient,) = torch.autograd.grad(features["conv_3_2"].square().sum(), x, retain_graph=not stop_early)
    assert gradient.abs().sum() > 0
    direction = gradient / gradient.norm()
    step = 1e-2
    with torch.no_grad():
        values = [
            FeatureExtractor(model, ["conv_3_2"])(images + sign * step * direction)[0]["conv_3_2"].square().sum()
            for sign in (1, -1)
        ]
    assert float(values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.05)
    if logits is not None:
        assert torch.autograd.grad(logits.sum(), x)[0].abs().sum() > 0


def test_pooling_equals_plain_average_pooling_where_the_ratio_is_an_integer():
    maps = torch.rand(2, 3, 56, 56)
    assert pool_side(2) == 7
    torch.testing.assert_close(pool_features(maps, 7), torch.nn.functional.avg_pool2d(maps, 8).flatten(1))
    torch.testing.assert_close(pool_features(maps, 1), maps.mean((2, 3)))
    channels_last = maps.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(pool_features(channels_last, 7), pool_features(maps, 7))


def test_pooling_is_capped_by_the_map():
    maps = torch.rand(2, 3, 2, 5)
    assert pool_features(maps, 4).shape[1] == 3 * 2 * 4
    assert torch.equal(pool_features(maps, 9), maps.flatten(1))


def test_pool_overrides_table_3(models):
    model, _ = models["cifar_resnet14"]
    extractor = FeatureExtractor(model, ["conv_3_2", "conv_4_1"], pool={"conv_4_1": 1})
    assert extractor.dimensions(32, 32) == {"conv_3_2": 32 * 7 * 7, "conv_4_1": 64}
    with pytest.raises(ConfigError, match="pool: layer 'conv_2_1'"):
        FeatureExtractor(model, ["conv_3_2"], pool={"conv_2_1": 1})
    with pytest.raises(ConfigError, match="pool 0"):
        FeatureExtractor(model, ["conv_3_2"], pool={"conv_3_2": 0})
    with pytest.raises(ConfigError, match="named once"):
        FeatureExtractor(model, ["conv_3_2", "conv_3_2"])


def test_in_place_relus_are_refused():
    model = build_model("cifar_resnet8", 4, MEAN, STD)
    model.net.layer2[0].relu.inplace = True
    with pytest.raises(InputError, match="in-place"):
        FeatureExtractor(model, ["conv_2_1"])


def test_extract_features_covers_all_images_in_any_batch():
    model = build_model("cifar_resnet8", 4, MEAN, STD)
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    extractor = FeatureExtractor(model, ["conv_4_1", "conv_2_1"])
    features, softmax = extract_features(extractor, images, batch=7)
    pieces, softmax_pieces = extract_features(extractor, images, batch=3, dtype=np.float16)
    np.testing.assert_array_equal(softmax, predict_softmax(model, images, 7))
    np.testing.assert_allclose(softmax_pieces, softmax, atol=1e-6)
    assert features["conv_4_1"].shape == (7, 64 * 4 * 4)
    assert pieces["conv_2_1"].dtype == np.float16
    np.testing.assert_allclose(pieces["conv_2_1"], features["conv_2_1"], atol=5e-3, rtol=2e-3)
    assert extract_features(FeatureExtractor(model, ["conv_2_1"], stop_early=True), images)[1] is None
    with pytest.raises(InputError, match="no images"):
        extract_features(extractor, images[:0])


def test_a_damaged_image_spoils_its_own_row_only():
    model = build_model("cifar_resnet8", 4, MEAN, STD)
    images = np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)
    images[1, 0, 5, 5] = np.nan
    features, softmax = extract_features(FeatureExtractor(model, ["conv_4_1"]), images)
    assert finite_rows(features["conv_4_1"], softmax).tolist() == [True, False, True]
