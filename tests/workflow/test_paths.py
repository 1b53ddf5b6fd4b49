"""Paths are data: folders of any name, the workflow started from elsewhere, results that were moved."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from .conftest import TINY, Project

pytestmark = pytest.mark.xdist_group("workflow")

HOSTILE = "-a b $(touch pwned) `touch pwned` 'x' \"y\" {z} {model} {open %s %20 <results> \\ & touch pwned;\n#ä"
TARGET = "results/images/test/set.json"
MODULE = """
configfile: "tiny.yaml"
shell.prefix("set -e; ")
module ours:
    snakefile: {place!r}
    config: config
use rule * from ours
rule own:
    input: {target!r}
    output: "own.txt"
    shell: "false | true; echo $NNDEFENSE_RUN > {{output}}"
"""


def snakemake(folder: Path, *arguments: object, python: Path = Path(sys.executable)) -> str:
    """What Snakemake says in a folder; it must succeed."""
    command = [python, "-m", "snakemake", *map(str, arguments), "--cores", "1"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout, its environment and data, all in folders that do what they can."""
    project = Project.create(tmp_path_factory.mktemp("paths") / HOSTILE)
    # As a Python that was made there: its path is not resolved.
    (project.folder / ".venv").symlink_to(sys.prefix)
    return project


def test_folders_of_any_name(project: Project) -> None:
    from safetensors.torch import save_file

    from nndefense.models.build import build_model
    from nndefense.models.weights import network_state

    folder, data = project.folder, project.folder / "data" / HOSTILE.replace("\n", "")
    (data / "pictures" / "a {x} %s").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (60 * number, 9, 9)).save(data / "pictures" / "a {x} %s" / f"{number} {{y}} '.png")
    weights = data / "weights {model} it's.safetensors"
    save_file(network_state(build_model("cifar_resnet8", 10, [0.5] * 3, [0.5] * 3)), weights)
    changes = {
        "data": str(data.relative_to(folder)),
        "images": {"pictures": {"kind": "folder", "root": "pictures"}},
        "models": {
            "given": {"architecture": "cifar_resnet8", "weights": weights.name, "mean": [0.5] * 3, "std": [0.5] * 3}
        },
        "run": "mine",
    }
    (folder / "changes.yaml").write_text(yaml.safe_dump(changes))
    targets = ["results/mine/images/pictures/sheet.png", "results/mine/models/given/model.json"]
    command = [*targets, "--configfile", "tiny.yaml", "changes.yaml", "--printshellcmds"]
    python = folder / ".venv" / "bin" / Path(sys.executable).name
    snakemake(folder, *command, python=python)
    assert all((folder / target).exists() for target in targets)
    assert not list(folder.parent.rglob("pwned*"))
    os.utime(weights, (0, 0))
    listed = snakemake(folder, *command, "-n", python=python)
    assert "rule load_model:" in listed
    assert "rule list_images:" not in listed


def test_the_entry_point_of_the_catalog(project: Project, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    command = ["-s", project.folder / "workflow" / "Snakefile", TARGET, "--configfile", "tiny.yaml"]
    said = snakemake(tmp_path, *command)
    assert "workflow/profiles/default" in said
    assert (tmp_path / TARGET).exists()
    # The checkout at another depth, as a container mounts it, and the main file in its place.
    deeper = tmp_path / "a" / "b" / "checkout"
    shutil.copytree(project.folder, deeper, symlinks=True)
    command[1] = deeper / "Snakefile"
    assert "Nothing to be done" in snakemake(tmp_path, *command, "-n")


def test_as_a_module_of_another_workflow(project: Project, tmp_path: Path) -> None:
    """Rules of the other workflow run as before: what it puts before its commands stays."""
    place = os.path.relpath(project.folder / "Snakefile", tmp_path)
    (tmp_path / "Snakefile").write_text(MODULE.format(place=place, target=TARGET))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    snakemake(tmp_path, "own.txt")
    assert (tmp_path / "own.txt").read_text().strip().isdigit()
    assert "Nothing to be done" in snakemake(tmp_path, "own.txt", "-n")


def test_results_that_were_moved_are_up_to_date(finished: Project, tmp_path: Path) -> None:
    moved = finished.copy(tmp_path / "deeper" / HOSTILE)
    assert moved.would_run() == {}
    # Captions are found again by Snakemake's report, whose texts have no other source.
    captions = moved.folder / "results" / "captions"
    captions.mkdir()
    (captions / "fig5.rst").write_text("what was seen")
    moved.run("results/fig5.pdf", "--report=results/report.html")
    assert "what was seen" in (moved.folder / "results" / "report.html").read_text()
    assert not list(tmp_path.rglob("pwned*"))
