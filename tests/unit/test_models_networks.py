"""Networks, standardisation, and the builder."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from nndefense.core.errors import ConfigError
from nndefense.models.build import build_model, freeze
from nndefense.models.cifar_resnet import BasicBlock
from nndefense.models.standardize import Standardized

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(("depth", "parameters"), [(20, 0.27e6), (32, 0.46e6), (56, 0.85e6), (110, 1.7e6)])
def test_cifar_resnet_sizes_are_those_of_he_et_al_table_6(depth, parameters):
    model = build_model(f"cifar_resnet{depth}", 10, MEAN, STD)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.03)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 1 == depth


def test_option_a_shortcut_subsamples_and_pads_channels_on_both_sides():
    block = BasicBlock(4, 8, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 4, 6, 6)
    out = block(x)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert not out[:, :2].any()
    assert not out[:, 6:].any()


def test_state_dict_keys_are_the_published_ones():
    keys = set(build_model("cifar_resnet8", 10, MEAN, STD).net.state_dict())
    weights = {key for key in keys if key.endswith("weight")}
    blocks = {f"layer{s}.0.{part}.weight" for s in (1, 2, 3) for part in ("conv1", "bn1", "conv2", "bn2")}
    assert weights == blocks | {"conv1.weight", "bn1.weight", "linear.weight"}


def test_standardized_equals_a_standardised_input():
    model = build_model("cifar_resnet8", 7, MEAN, STD)
    images = torch.rand(3, 3, 32, 32)
    by_hand = torch.stack([(images[:, c] - MEAN[c]) / STD[c] for c in range(3)], dim=1)
    assert model(images).shape == (3, 7)
    torch.testing.assert_close(model(images), model.net(by_hand), rtol=1e-4, atol=1e-5)


def test_images_of_the_mean_colour_become_zero():
    model = Standardized(nn.Identity(), MEAN, STD)
    assert not model(torch.tensor(MEAN).view(1, 3, 1, 1).expand(2, 3, 4, 4)).any()


def test_built_model_is_in_eval_mode_without_in_place_relus():
    for name in ("cifar_resnet8", "resnet18"):
        model = build_model(name, 5, MEAN, STD)
        relus = [m for m in model.modules() if isinstance(m, nn.ReLU)]
        assert relus
        assert not any(m.inplace for m in relus)
        assert not any(m.training for m in model.modules())


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model("cifar_resnet8", 10, MEAN, STD, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again = build_model("cifar_resnet8", 10, MEAN, STD, seed=3).state_dict()
    other = build_model("cifar_resnet8", 10, MEAN, STD, seed=4).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["net.conv1.weight"], other["net.conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("alexnet", 10, MEAN, STD), r"architecture 'alexnet'.*allowed: cifar_resnet\{depth\}, resnet18"),
        (("resnet51", 10, MEAN, STD), "architecture 'resnet51'.*allowed"),
        (("cifar_resnet9", 10, MEAN, STD), "6n\\+2"),
        (("cifar_resnet2", 10, MEAN, STD), "6n\\+2"),
        (("cifar_resnet8", 1, MEAN, STD), "classes 1"),
        (("cifar_resnet8", 10, (0.5,), STD), "mean"),
        (("cifar_resnet8", 10, MEAN, (1, 0, 1)), "std"),
        (("cifar_resnet8", 10, MEAN, (1, float("nan"), 1)), "std"),
    ],
)
def test_bad_settings_give_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_model(*arguments)
    assert "\n" not in str(caught.value)


def test_published_weights_are_checked_before_any_download():
    with pytest.raises(ConfigError, match=r"allowed: IMAGENET1K_V1"):
        build_model("resnet18", 1000, MEAN, STD, weights="V9")
    with pytest.raises(ConfigError, match="1000 classes, not 10"):
        build_model("resnet18", 10, MEAN, STD, weights="IMAGENET1K_V1")
    with pytest.raises(ConfigError, match="no weights by name"):
        build_model("cifar_resnet8", 10, MEAN, STD, weights="IMAGENET1K_V1")


def test_frozen_model_gives_gradients_of_the_images_only():
    model = freeze(build_model("cifar_resnet8", 10, MEAN, STD).train())
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    model(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters())
    assert not model.training


def test_cifar_networks_do_not_import_torchvision():
    code = (
        "import sys, nndefense.features.extract; from nndefense.models.build import build_model;"
        "build_model('cifar_resnet8', 10, (0, 0, 0), (1, 1, 1)); sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0
