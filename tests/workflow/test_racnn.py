"""Retrieval-augmented networks are trained in the workflow and opened like any other network."""

import json

import pytest

from nndefense.models.build import freeze
from nndefense.models.checkpoint import open_checkpoint

from .conftest import RECIPE, Project

pytestmark = pytest.mark.xdist_group("workflow")

COMMON = RECIPE | {
    "method": "retrieval_augmented",
    "extractor": "other",
    "database": {"images": "train", "rows": 100},
    "neighbors": 3,
    "batch": 50,
}
FROZEN = {"finetune": False, "hidden": [8], "projection": 16, "engine": "lsh"}
MODELS = {
    "tuned": {"architecture": "racnn", "train": COMMON | {"learning_rate": 0.01}},
    "frozen": {"architecture": "racnn", "train": COMMON | FROZEN},
}
TARGETS = [f"results/models/{name}/clean_accuracy.json" for name in MODELS]


def test_networks_are_trained_on_another_and_evaluated(again: Project) -> None:
    again.run(*TARGETS, changes={"models": MODELS})
    results = again.folder / "results"
    for name, path in zip(MODELS, TARGETS, strict=True):
        assert json.loads((again.folder / path).read_text())["n"] == 40
        lines = (results / f"models/{name}/training.csv").read_text().splitlines()
        assert lines[0] == "epoch,loss,accuracy,learning_rate"
        assert len(lines) == 2
        model, about = open_checkpoint(results / f"models/{name}/model.json")
        assert about["options"]["rows"] == 100
        assert about["provenance"]["extractor"]["name"] == "other"
        assert freeze(model).net.memory.labels.bincount().sum() == 100
        assert not (results / f"models/{name}/training.state").exists()
    assert about["options"]["width"] > 0
    assert 0 < about["provenance"]["hashed_search"]["recall"] <= 1
    log = (results / "logs/train_racnn/frozen.log").read_text()
    assert "100 of 300 training images are in memory" in log
    assert "recall@3" in log


def test_what_reruns_with_another_setting(finished: Project) -> None:
    wanted = {"models": MODELS}
    assert finished.would_run(*TARGETS, changes=wanted) == {"train_racnn": 2, "evaluate_model": 2}
    one = {"models": {"tuned": MODELS["tuned"]}}
    assert finished.would_run(TARGETS[0], changes=one) == {"train_racnn": 1, "evaluate_model": 1}
