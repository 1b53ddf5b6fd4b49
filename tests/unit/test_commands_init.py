"""A configuration for one's own images and weights: what is found and refused, and that what is written is valid."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nndefense.cli import main
from nndefense.commands.init_text import layers_of, sizes_of
from nndefense.config import load_config
from nndefense.models.build import build_model
from nndefense.models.weights import network_state

CLASSES = ("cat", "dog", "owl")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def draw(folder, count, side=(32, 32), names=CLASSES):
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((side[1], side[0], 3), 40 * number % 256, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with images for test and training, and weights of a small network."""
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "pictures/test", 2)
    draw(tmp_path / "pictures/train", 5)
    state = network_state(build_model("cifar_resnet8", len(CLASSES), MEAN, STD))
    torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()}}, "own.ckpt")
    return tmp_path


def init(*more, folder="mine", weights="own.ckpt", images="pictures"):
    return main(["init", folder, "--weights", weights, "--images", images, *map(str, more)])


def made(folder="mine"):
    raw = yaml.safe_load(Path(folder, "config.yaml").read_text())
    return raw, load_config(raw)


def refused(capsys, *arguments, **named):
    assert init(*arguments, **named) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error.removeprefix("error: ").strip()


def test_what_is_written_is_a_configuration_of_what_is_there(place, capsys):
    assert init() == 0
    raw, config = made()
    assert (config.run, config.classes, config.target) == ("mine", 3, "own")
    assert config.models["own"].architecture == "cifar_resnet8"
    assert config.models["own"].weights == str(place / "own.ckpt")
    assert {name: (one.root, one.size, one.resize) for name, one in config.images.items()} == {
        "test": (str(place / "pictures/test"), 32, None),
        "train": (str(place / "pictures/train"), 32, None),
    }
    assert (config.queries.images, config.queries.count) == ("test", 6)
    assert config.pools["Targeted"].values == [2, 5, 10]
    assert (config.votes.neighbors, config.base.neighbors, config.base.features) == ([1], 1, "conv_4_1")
    assert raw["data"] == str(place / "pictures")
    assert Path("mine/config.yaml").read_text().count("#") > 20
    told = capsys.readouterr().out
    assert "mine/config.yaml: cifar_resnet8, 3 classes, images of 32 pixels (6 in test, 15 in train)" in told
    assert "models.own.mean and .std are those of ImageNet" in told
    assert "nndefense run -n --configfile mine/config.yaml" in told


def test_a_database_needs_no_classes_and_stands_beside_the_training_images(place):
    draw(place / "pictures/Web", 30, names=("anything",))
    assert init() == 0
    _, config = made()
    assert config.pools["All"].images == ["database"]
    assert config.images["database"].root == str(place / "pictures/Web")
    assert config.pools["All"].values == [5, 10, 20]
    assert config.base.pool == "Targeted"


def test_folders_may_be_named(place):
    draw(place / "elsewhere/holdout", 1)
    assert init("--test", place / "elsewhere/holdout", "--database", "train") == 0
    _, config = made()
    assert config.images["test"].root == str(place / "elsewhere/holdout")
    assert config.images["database"].root == str(place / "pictures/train")
    assert config.queries.count == 3


def test_means_that_the_weights_hold_are_taken(place, capsys):
    model = build_model("cifar_resnet8", 3, MEAN, STD)
    torch.save(model.state_dict(), "whole.pth")
    assert init(weights="whole.pth") == 0
    _, config = made()
    assert config.models["own"].mean == pytest.approx(MEAN)
    assert config.models["own"].std == pytest.approx(STD)
    assert "ImageNet" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("architecture", "side", "more", "expected"),
    [
        ("cifar_resnet8", (32, 32), [], (32, None)),
        ("cifar_resnet8", (300, 200), [], (32, None)),
        ("cifar_resnet8", (48, 48), ["--size", 40], (40, None)),
        ("resnet18", (64, 64), [], (64, None)),
        ("resnet18", (224, 224), [], (224, None)),
        ("resnet18", (300, 300), [], (224, 256)),
        ("resnet18", (300, 200), [], (224, 256)),
    ],
)
def test_the_size_of_images_is_looked_up(place, architecture, side, more, expected):
    draw(place / "other/test", 1, side)
    draw(place / "other/train", 1, side)
    torch.save(network_state(build_model(architecture, 3, MEAN, STD)), "other.pth")
    assert init(*more, weights="other.pth", images="other") == 0
    _, config = made()
    assert {(one.size, one.resize) for one in config.images.values()} == {expected}
    assert config.models["own"].architecture == architecture


def test_names_and_paths_that_yaml_would_read_otherwise(place):
    draw(place / "it's: #1 {a}/test", 1)
    draw(place / "it's: #1 {a}/train", 1)
    assert init(folder="predictions", images="it's: #1 {a}") == 0
    raw, config = made("predictions")
    assert raw["data"] == str(place / "it's: #1 {a}")
    # A run of this name would lie among the files of the run without one.
    assert config.run == "predictions_run"
    assert init(folder="Mäuse 2") == 0
    assert made("Mäuse 2")[1].run == "M_use_2"


def test_mistakes_are_one_line(place, capsys):
    torch.save(network_state(build_model("cifar_resnet8", 7, MEAN, STD)), "seven.pth")
    draw(place / "alone/test", 1)
    draw(place / "unlike/test", 1)
    draw(place / "unlike/train", 1, names=("cat", "dog", "fox"))
    draw(place / "$HOME/test", 1)
    draw(place / "$HOME/train", 1)
    assert refused(capsys, weights="none.pth") == "none.pth: no such file"
    assert refused(capsys, images="none").startswith("--images none: no such folder")
    Path("mine").mkdir()
    assert refused(capsys, images="mine").startswith(
        "mine: has no images for test, but no folders; allowed: test, testing, val"
    )
    assert refused(capsys, images="alone").startswith(
        "alone: has no images for train or database, but test; allowed: train"
    )
    assert "unlike/train: has other classes than unlike/test, as 'fox'" in refused(capsys, images="unlike")
    assert refused(capsys, weights="seven.pth").startswith(
        "seven.pth: tells 7 classes apart, pictures/test has 3 folders of classes; allowed: as many"
    )
    assert refused(capsys, "--arch", "resnet9").startswith(
        "--arch resnet9: is unknown; allowed: --arch with one of cifar_"
    )
    assert "holds cifar_resnet8 with 3 classes, but the model is resnet18" in refused(capsys, "--arch", "resnet18")
    assert "efficientnet_lite0: has no layers" in refused(capsys, "--arch", "efficientnet_lite0")
    assert refused(capsys, "--size", 4) == "--size is 4; allowed: an integer >= 8"
    assert "cannot be written into a configuration" in refused(capsys, images="$HOME")
    assert refused(capsys, "--test", "nothing").startswith("nothing is not a folder")
    assert not Path("mine/config.yaml").exists()
    assert init() == 0
    assert refused(capsys) == "mine/config.yaml: is there already; allowed: another folder, or delete it"


def test_weights_of_another_network_need_its_name(place, capsys):
    torch.save({"features.0.weight": torch.ones(3, 3), "fc.weight": torch.ones(3, 4)}, "strange.pth")
    assert refused(capsys, weights="strange.pth").startswith(
        "strange.pth: holds an unknown architecture; allowed: --arch"
    )


def test_sizes_and_layers():
    assert [sizes_of(count) for count in (1, 4, 9, 60, 50_000)] == [
        [1], [1, 2], [1, 2, 5], [10, 20, 50], [10_000, 20_000, 50_000],
    ]  # fmt: skip
    assert layers_of((3, 4, 6, 3)) == ["conv_4_1", "conv_5_1"]
    assert layers_of((9, 9, 9)) == ["conv_3_1", "conv_4_1"]
