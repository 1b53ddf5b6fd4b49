"""Purification by dictionaries on a running workflow, by the networks of the tiny experiment."""

import time

import pytest

from .conftest import RECIPE, Project

pytestmark = pytest.mark.xdist_group("workflow")

LEARNING = {"filters": 2, "size": 3, "steps": 2, "batch": 8, "jobs": 2}
SECTION = {
    "images": "train",
    "clusters": {"most": 2, "smallest": 5, "components": 4},
    "learning": LEARNING,
    "table": ["low_pass", "srd_whole", "srd_oracle", "srd", "srd_robust"],
    "epsilons": [0.08],
    "attacks": {"bpda": {"steps": 2}, "unrolled": {"steps": 2}},
}
SRD = {"iterations": 20, "unrolled": 3}
DEFENSES = {
    "low_pass": {"tune": {"weight": [0.1, 0.5]}},
    "srd": {**SRD, "tune": {"sparsity": [0.02, 0.1]}},
    "srd_robust": {"kind": "srd", "chooser": "robust", "tuned_as": "srd", **SRD},
    "srd_oracle": {"kind": "srd", "choice": "oracle", "tuned_as": "srd", **SRD},
    "srd_whole": {"kind": "srd", "choice": "whole", "tuned_as": "srd", **SRD},
}
ROBUST = {"method": "clustered", "initial": "small", "attack_steps": 1, "batch": 60}
CHANGES = {
    "models": {"robust": {"architecture": "cifar_resnet8", "train": {**RECIPE, **ROBUST}}},
    "attacks": {
        "adaptive": {
            "methods": {"soft_retrieval": {"steps": 2}},
            "epsilons": [0.08],
            "count": 12,
            "defenses": ["none"],
            "full": [],
        }
    },
    "validation": {"images": "test", "count": 20},
    "defenses": DEFENSES,
    "dictionaries": SECTION,
}
TARGETS = tuple(f"results/srd/{name}" for name in ("table.md", "fig.pdf", "clusters.pdf", "dictionaries.pdf"))


@pytest.fixture(scope="module")
def purified(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("purified") / "project")
    start = time.time()
    print(project.would_run(*TARGETS, changes=CHANGES))
    project.run(*TARGETS, changes=CHANGES)
    print("took", time.time() - start)
    return project


def test_everything_is_made_once(purified):
    assert purified.would_run(*TARGETS, changes=CHANGES) == {}
