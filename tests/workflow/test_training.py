"""Networks that are trained from others: what runs, what it leaves, and what a change of the code reruns."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import RECIPE, Project

pytestmark = pytest.mark.xdist_group("workflow")

TARGET = "results/training.pdf"
CHANGES = {
    "models": {
        "ensemble": {
            "architecture": "cifar_resnet8",
            "train": RECIPE | {"method": "ensemble_training", "sources": ["other"], "initial": "small"},
        },
        "pairing": {
            "architecture": "cifar_resnet8",
            "train": RECIPE | {"method": "logit_pairing", "attack_steps": 1},
        },
    },
    "defenses": {"ensemble_training": {"model": "ensemble"}, "logit_pairing": {"model": "pairing"}},
}


@pytest.fixture(scope="module")
def trained(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The networks of the tiny experiment, two trained defences besides, and the curves of all."""
    project = finished.copy(tmp_path_factory.mktemp("trained") / "project")
    assert project.would_run(TARGET, changes=CHANGES) == {"train_model": 2, "plot_training": 1}
    project.run(TARGET, changes=CHANGES)
    return project


def test_defences_are_trained_from_the_models_that_exist(trained: Project) -> None:
    rows = (trained.folder / "results/training.csv").read_text().splitlines()
    assert rows[0] == "model,epoch,loss,accuracy,learning_rate"
    assert [row.split(",")[:2] for row in rows[1:]] == [
        [name, "1"] for name in ("small", "other", "ensemble", "pairing")
    ]
    assert not list((trained.folder / "results/models").rglob("training.state"))
    assert trained.would_run(TARGET, changes=CHANGES) == {}


def test_edited_method_trains_its_own_networks_again(trained: Project, tmp_path: Path) -> None:
    time.sleep(1.1)  # file systems and Snakemake may round times to seconds
    for name, jobs in (("defenses/logit_pairing", 1), ("defenses/mixed", 2), ("models/augment", 4)):
        project = trained.copy(tmp_path / name.replace("/", "-"))
        module = project.folder / f"scripts/nndefense/{name}.py"
        module.write_text(module.read_text() + "UNUSED = 1\n")
        assert project.would_run(TARGET, changes=CHANGES) == {"train_model": jobs, "plot_training": 1}


def test_changed_source_trains_what_depends_on_it(trained: Project) -> None:
    models = CHANGES["models"] | {"other": {"train": RECIPE | {"batch": 20}}}
    assert trained.would_run(TARGET, changes=CHANGES | {"models": models}) == {"train_model": 2, "plot_training": 1}


def kill_when_there(project: Project, target: str, changes: dict, file: Path) -> None:
    """Start a run and kill it, jobs and all, as soon as a file is there."""
    process = subprocess.Popen(
        project.command(target, changes=changes),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not file.exists():
            assert process.poll() is None, f"the run ended without {file}"
            assert time.monotonic() < deadline, f"no {file}"
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.mark.slow
def test_killed_training_goes_on_after_its_last_epoch(trained: Project, tmp_path: Path) -> None:
    changes = {"models": {"long": {"architecture": "cifar_resnet8", "train": RECIPE | {"epochs": 6, "batch": 50}}}}
    target = "results/models/long/weights.safetensors"
    whole, killed = (trained.copy(tmp_path / name) for name in ("whole", "killed"))
    whole.run(target, changes=changes)
    kill_when_there(killed, target, changes, killed.folder / "results/models/long/training.state")
    assert not (killed.folder / target).exists()
    killed.run(target, "--unlock", changes=changes)
    killed.run(target, changes=changes)
    assert "goes on after epoch" in (killed.folder / "results/logs/train_model/long.log").read_text()
    for name in ("weights.safetensors", "model.json", "training.csv"):
        one, other = ((project.folder / "results/models/long" / name).read_bytes() for project in (whole, killed))
        assert one == other, name
    assert not (killed.folder / "results/models/long/training.state").exists()


def test_unknown_source_is_one_line(trained: Project) -> None:
    recipe = RECIPE | {"method": "ensemble_training", "sources": ["huge"]}
    models = {"mine": {"architecture": "cifar_resnet8", "train": recipe}}
    done = trained.run("-n", changes={"models": models}, check=False)
    assert done.returncode != 0
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "configuration:" in line]
    assert len(lines) == 1
    assert "models.mine.train.sources: 'huge' is unknown; allowed: small, other, mine" in lines[0]
