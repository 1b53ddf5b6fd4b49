"""R-MAC against hand-counted regions, analytic maps and a plain loop; layers with `-RMAC` beside plain ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import ConfigError, InputError
from nndefense.features.bits import pack_signs
from nndefense.features.extract import FeatureExtractor, extract_features, finite_rows
from nndefense.features.layers import find_tap
from nndefense.features.measure import measure_layers
from nndefense.features.names import is_rmac, parse_layer
from nndefense.features.rmac import rmac, rmac_regions
from nndefense.models.build import build_model, freeze

SIDES = st.integers(1, 40)


def grid(side, tops, lefts):
    return [(top, left, side, side) for top in tops for left in lefts]


def covering(regions, row, column):
    return [one for one in regions if one[0] <= row < one[0] + one[2] and one[1] <= column < one[1] + one[3]]


def by_loops(image, levels=3):
    """R-MAC of one map (C, H, W), region by region."""
    total = np.zeros(len(image))
    for top, left, tall, wide in rmac_regions(*image.shape[1:], levels):
        maxima = image[:, top : top + tall, left : left + wide].max((1, 2))
        total += maxima / np.linalg.norm(maxima)
    return total / np.linalg.norm(total)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return freeze(build_model("cifar_resnet8", 4, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


def test_a_7_by_7_map_has_14_regions():
    expected = grid(7, [0], [0]) + grid(4, [0, 3], [0, 3]) + grid(3, [0, 2, 4], [0, 2, 4])
    assert rmac_regions(7, 7) == expected
    assert len(expected) == 14
    assert rmac_regions(7, 7, levels=1) == [(0, 0, 7, 7)]


def test_regions_of_a_map_twice_as_wide_as_tall():
    # Three squares of side 7 overlap by half, nearer to 0.4 than two (not at all) or four (two thirds).
    wide = grid(7, [0], [0, 3, 7]) + grid(4, [0, 3], [0, 3, 6, 10]) + grid(3, [0, 2, 4], [0, 2, 5, 8, 11])
    assert rmac_regions(7, 14) == wide
    assert sorted(rmac_regions(14, 7)) == sorted((left, top, *size) for top, left, *size in wide)


def test_a_map_of_one_pixel_has_one_region():
    assert rmac_regions(1, 1) == [(0, 0, 1, 1)]
    for bad in ((0, 7, 3), (7, 0, 3), (7, 7, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            rmac_regions(*bad)


@given(height=SIDES, width=SIDES, levels=st.integers(1, 5))
def test_regions_lie_within_the_map_and_reach_its_corners(height, width, levels):
    regions = rmac_regions(height, width, levels)
    assert all(top >= 0 and left >= 0 and top + t <= height and left + w <= width for top, left, t, w in regions)
    for side in {region[2] for region in regions}:
        level = [region for region in regions if region[2] == side]
        assert level[0][:2] == (0, 0)
        assert (level[-1][0] + side, level[-1][1] + side) == (height, width)
    if height == width:
        assert regions[0] == (0, 0, height, width)
        assert len(regions) == sum(level**2 for level in range(1, levels + 1) if 2 * height // (level + 1))


def test_a_constant_map_gives_the_constants_direction():
    constants = torch.tensor([[3.0, 0.0, 4.0], [1.0, 2.0, 2.0]])
    vectors = rmac(constants[..., None, None].expand(2, 3, 7, 7))
    torch.testing.assert_close(vectors, constants / torch.tensor([[5.0], [3.0]]))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 3), (6, 2), (2, 4)])
def test_a_hot_pixel_adds_energy_only_through_the_regions_that_cover_it(row, column):
    maps = torch.zeros(1, 2, 7, 7)
    maps[0, 0] = 1
    maps[0, 1, row, column] = 1
    regions = rmac_regions(7, 7)
    covered = len(covering(regions, row, column))
    expected = np.array([len(regions) - covered + covered * 0.5**0.5, covered * 0.5**0.5])
    np.testing.assert_allclose(rmac(maps)[0], expected / np.linalg.norm(expected), rtol=1e-6)
    assert 0 < covered < len(regions)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 16), width=st.integers(1, 16), seed=st.integers(0, 2**32 - 1))
def test_batches_equal_a_loop_over_regions(height, width, seed):
    maps = np.random.default_rng(seed).uniform(0.01, 1, (3, 5, height, width))
    vectors = rmac(torch.from_numpy(maps))
    np.testing.assert_allclose(vectors, [by_loops(one) for one in maps], rtol=1e-9)
    np.testing.assert_allclose(vectors.norm(dim=1), 1, rtol=1e-12)


def test_relu_comes_first_unless_it_is_switched_off():
    maps = torch.from_numpy(np.random.default_rng(0).normal(-1, 1, (2, 4, 6, 6)))
    assert torch.equal(rmac(maps), rmac(torch.relu(maps)))
    np.testing.assert_allclose(rmac(maps, pre_relu=True), [by_loops(one) for one in maps.numpy()])
    assert not torch.equal(rmac(maps, pre_relu=True), rmac(maps))
    nothing = torch.full((1, 4, 6, 6), -1.0, requires_grad=True)
    assert not rmac(nothing).any()
    assert not torch.autograd.grad(rmac(nothing).sum(), nothing)[0].any()


def test_gradients_equal_finite_differences():
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 5, 4))).requires_grad_(True)
    assert torch.autograd.gradcheck(rmac, maps)


def test_names():
    assert parse_layer("conv_5_1-RMAC") == (None, "conv_5_1", "-RMAC", False)
    assert is_rmac("conv_5_1-RMAC")
    assert not is_rmac("conv_5_1")
    for name in ("conv_5_1-rmac", "conv_5_1RMAC", "conv_5_1-RMAC-RMAC", "-RMAC"):
        with pytest.raises(ConfigError, match="a name such as conv_5_1 "):
            parse_layer(name)


def test_both_names_in_one_pass_equal_each_alone(model):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layers = ["conv_4_1-RMAC", "conv_3_1-RMAC", "conv_4_1"]
    passes = []
    handle = model.net.layer1.register_forward_hook(lambda *_: passes.append(1))
    features, logits = FeatureExtractor(model, layers)(images)
    handle.remove()
    assert len(passes) == 1
    assert torch.equal(logits, model(images))
    for layer in layers:
        for early in (False, True):
            assert torch.equal(FeatureExtractor(model, [layer], stop_early=early)(images)[0][layer], features[layer])
    maps, _ = FeatureExtractor(model, ["conv_4_1"]).maps(images)
    assert torch.equal(features["conv_4_1-RMAC"], rmac(maps["conv_4_1"]))
    assert (maps["conv_4_1"] < 0).any()
    assert find_tap(model, "conv_4_1-RMAC") == find_tap(model, "conv_4_1")


def test_early_stop_waits_for_the_deepest_layer(model):
    calls = []
    handles = [
        getattr(model.net, f"layer{number}").register_forward_hook(lambda *_, number=number: calls.append(number))
        for number in (1, 2, 3)
    ]
    FeatureExtractor(model, ["conv_3_1-RMAC", "conv_2_1"], stop_early=True)(torch.rand(1, 3, 32, 32))
    assert calls == [1]  # layer2 is left within its last block, before its own hook
    for handle in handles:
        handle.remove()


def test_extractor_arguments(model):
    layers = ["conv_4_1", "conv_4_1-RMAC"]
    assert FeatureExtractor(model, layers, pool={"conv_4_1": 2}).dimensions(32, 32) == {
        "conv_4_1": 64 * 2 * 2,
        "conv_4_1-RMAC": 64,
    }
    with pytest.raises(ConfigError, match="R-MAC, which has no side"):
        FeatureExtractor(model, layers, pool={"conv_4_1-RMAC": 2})
    with pytest.raises(ConfigError, match="'conv_5_1-RMAC': not in cifar_resnet8; allowed: conv_2_1, "):
        FeatureExtractor(model, ["conv_5_1-RMAC"])
    sizes = measure_layers(model, layers, torch.rand(1, 3, 32, 32), {})["conv_4_1-RMAC"]
    assert [sizes[f"pooled_{side}"] for side in ("channels", "height", "width")] == [64, 1, 1]


def test_a_damaged_image_spoils_its_own_row_only(model):
    images = np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)
    images[1, 0, 5, 5] = np.nan
    features, _ = extract_features(FeatureExtractor(model, ["conv_4_1-RMAC"]), images)
    assert finite_rows(features["conv_4_1-RMAC"]).tolist() == [True, False, True]


@pytest.mark.parametrize("dimensions", [1, 7, 8, 256])
def test_packed_signs_unpack_to_the_signs(dimensions):
    codes = np.random.default_rng(0).normal(size=(20, dimensions)).astype(np.float32)
    packed = pack_signs(codes)
    assert packed.dtype == np.uint8
    assert packed.shape == (20, -(-dimensions // 8))
    bits = np.unpackbits(packed, axis=1)
    np.testing.assert_array_equal(bits[:, :dimensions], codes > 0)
    assert not bits[:, dimensions:].any()


def test_packing_zeros_nan_and_wrong_shapes():
    assert pack_signs(np.array([[0.0, -0.0, np.nan, 1e-30]])).tolist() == [[0b00010000]]
    with pytest.raises(InputError, match="must be"):
        pack_signs(np.zeros(8))
