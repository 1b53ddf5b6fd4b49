"""Neighbours by features of networks of other libraries: the DAG runs through, and the object agrees with it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import nndefense
from nndefense.core.files import read_json
from nndefense.evaluation.accuracy import ACCURACY
from nndefense.evaluation.rows import read_rows
from nndefense.models.build import build_model
from nndefense.models.checkpoint import open_checkpoint

from .conftest import TINY, Project, by_script

pytestmark = pytest.mark.xdist_group("workflow")

PLAIN = """
from torch import nn


def build(classes):
    layers = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8 * 15 * 15, classes)
    return nn.Sequential(*layers)
"""
STATISTICS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
# Network, its outputs, side that images are brought to, its layer.
ENCODERS = {
    "vit": ("timm/vit_tiny_patch16_224", 0, None, "blocks.11-CLS-L2"),
    "convnext": ("timm/convnext_atto", 7, None, "stages.2"),
    "clip": ("open_clip/ViT-S-32-alt", 0, 224, "visual"),
    "plain": ("module/their_nets:build", 5, None, "1"),
}
# Of these, those that a run has; the first one is deployed and attacked, too.
CHOSEN = [("vit", "plain"), pytest.param(("clip", "convnext"), marks=pytest.mark.slow)]
TARGETS = ("results/fig_encoders.pdf", "results/accuracy.csv")


def model(folder: Path, name: str) -> dict:
    """A network with random weights in a file, as of `models`."""
    architecture, classes, resize, _ = ENCODERS[name]
    net = build_model(architecture, classes, **STATISTICS, seed=3).net
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, folder / f"{name}.safetensors")
    own = {"architecture": architecture, "classes": classes, "weights": str(folder / f"{name}.safetensors")}
    return own | STATISTICS | ({"resize": resize} if resize else {})


@pytest.fixture(scope="module", params=CHOSEN, ids="-".join)
def chosen(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


@pytest.fixture(scope="module")
def changes(chosen: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict:
    pytest.importorskip("timm")
    pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("nets")
    (folder / "their_nets.py").write_text(PLAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        models = {name: model(folder, name) for name in chosen}
    layers = {name: f"{name}@{ENCODERS[name][-1]}" for name in chosen}
    suite = {"soft_retrieval": {"steps": 2, "temperatures": [1]}}
    return {
        "folder": str(folder),
        "models": models,
        "features": {"layers": ["conv_4_1", *layers.values()], "ablation_pools": ["Targeted"]},
        "attacks": {
            "epsilons": [0.08],
            "settings": ["gray_box"],
            "adaptive": {"methods": suite, "epsilons": [0.08], "count": 10, "full": [], "limits": {}},
        },
        "defenses": {f"knn_{chosen[0]}": {"kind": "knn", "features": layers[chosen[0]], "k": 10}},
    }


@pytest.fixture(scope="module")
def compared(finished: Project, changes: dict, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("encoders"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", changes.pop("folder"))
        project.run(*TARGETS, changes=changes)
        assert project.would_run(*TARGETS, changes=changes) == {}
    return project


def rows(project: Project, name: str) -> list[dict]:
    return read_rows(project.folder / f"results/{name}.csv", ACCURACY)


def test_every_encoder_has_rows_of_votes_and_of_its_defence(compared: Project, chosen: tuple[str, ...]) -> None:
    """A defence by a layer answers as the votes of that layer do."""
    found = rows(compared, "accuracy")
    assert {one["features"] for one in found} >= {f"{name}@{ENCODERS[name][-1]}" for name in chosen}
    name, *_ = chosen
    for setting, attack in (("clean", "none"), ("gray_box", "pgd")):
        cell = {"setting": setting, "attack": attack}
        plain = [one for one in found if one["defense"] == f"knn_{name}" and cell.items() <= one.items()]
        votes = [
            one
            for one in found
            if one["features"] == f"{name}@{ENCODERS[name][-1]}" and one["pool"] == "Targeted" and one["size"] == 120
            if one["weighting"] == "CBW-D" and one["combination"] == "soft" and cell.items() <= one.items()
        ]
        budgets = [one["epsilon"] for one in plain]
        assert budgets
        assert [one["accuracy"] for one in plain] == [one["accuracy"] for one in votes if one["epsilon"] in budgets]


def test_the_figure_has_a_line_for_every_encoder(compared: Project, chosen: tuple[str, ...]) -> None:
    lines = (compared.folder / "results/fig_encoders.csv").read_text().splitlines()
    names = lines[0].split(",")
    found = {dict(zip(names, line.split(","), strict=True))["encoder"] for line in lines[1:]}
    assert found == {"none", "conv_4_1", f"{chosen[0]}@{ENCODERS[chosen[0]][-1]}"}


def test_features_are_those_of_the_network_itself(compared: Project, chosen: tuple[str, ...]) -> None:
    """Stored features of the clean images are what the network gives, computed without the library's extractor."""
    clean = torch.from_numpy(np.load(compared.folder / "results/attacks/clean.npz")["clean/images"])
    for name in chosen:
        *_, layer = ENCODERS[name]
        stored = np.load(compared.folder / f"results/features/{name}/{name}@{layer}/queries/clean.npy")
        description = compared.folder / f"results/models/{name}/model.json"
        net = open_checkpoint(description)[0].net
        with torch.no_grad():
            expected = TAKEN[name](net, (clean - 0.5) / 0.5).numpy()
        np.testing.assert_allclose(stored.astype(np.float32), expected, rtol=2e-3, atol=2e-3, err_msg=name)


def _cls(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    tokens = net.forward_intermediates(images, indices=[11], norm=False, return_prefix_tokens=True)[1][0][1]
    return nn.functional.normalize(tokens[:, 0], dim=1)


def _stage(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return net.stages[:3](net.stem(images)).mean((2, 3))


def _tower(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return net.visual(nn.functional.interpolate(images, (224, 224), mode="bilinear", antialias=True))


def _relu(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return net[0](images).relu().mean((2, 3))


TAKEN: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "vit": _cls,
    "convnext": _stage,
    "clip": _tower,
    "plain": _relu,
}


@pytest.mark.slow
def test_a_deployed_encoder_of_its_own(compared: Project, changes: dict, chosen: tuple[str, ...]) -> None:
    """Where the base layer is another network's, the whole DAG goes by it; the classifier's pass has no layers."""
    name, *_ = chosen
    layer = f"{name}@{ENCODERS[name][-1]}"
    own = {
        "run": "separate",
        "models": {name: changes["models"][name]},
        "features": {"layers": [layer]},
        "attacks": {
            "methods": {"pgd_fs": {"steps": 2}},
            "white_box": {"pool": "Targeted", "neighbors": 10},
            "adaptive": {
                "methods": {"soft_retrieval": {"steps": 2, "temperatures": [1]}},
                "epsilons": [0.08],
                "count": 10,
                "limits": {},
                "knowledge": ["features"],
            },
        },
        "base": {"features": layer},
    }
    target = f"results/separate/predictions/small/{layer}/raw01/white_box-Targeted-120/pgd_fs/eps-0.04.npz"
    knowing = "results/separate/attacks/raw01/adaptive-knn-knows-features/soft_retrieval/eps-0.08.npz"
    targets = ("results/separate/knn.json", f"results/separate/predictions/small/{layer}/clean.npz", target, knowing)
    jobs = by_script(compared.would_run(*targets, changes=own))
    assert jobs["load_model"] == 1
    compared.run(*targets, changes=own)
    place = compared.folder / "results/separate"
    assert sorted(one.name for one in (place / "features").iterdir()) == [name]
    assert sorted(one.name for one in (place / "softmax").iterdir()) == ["small"]
    assert read_json(place / "knn.json")["encoder"] == [f"models/{name}/model.json"]
    deployed = nndefense.load(place)
    clean = np.load(place / "attacks/clean.npz")
    with torch.no_grad():
        classes = deployed(torch.from_numpy(clean["clean/images"])).argmax(1).numpy()
    votes = np.load(place / f"predictions/small/{layer}/clean.npz")
    cell = next(one for one in votes.files if "Targeted/120" in one and "CBW-D/soft" in one)
    np.testing.assert_array_equal(votes[cell], classes)


def test_names_of_the_experiment_are_checked(again: Project) -> None:
    layers = {"features": {"layers": ["conv_4_1", "nobody@blocks.1"]}}
    refused = again.run("results/accuracy.csv", "-n", changes=layers, check=False)
    assert f"features.layers: 'nobody' is unknown; allowed: {', '.join(TINY['models'])}" in (
        refused.stdout + refused.stderr
    )
