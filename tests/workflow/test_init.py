"""What `nndefense init` writes is an experiment that the workflow can plan, and everything that it asks for."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nndefense.cli import main
from nndefense.models.build import build_model
from nndefense.models.weights import network_state

from .conftest import Project

pytestmark = pytest.mark.xdist_group("workflow")


def test_what_is_written_passes_a_dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.create(tmp_path / "project")
    monkeypatch.chdir(project.folder)
    for part, count in (("test", 3), ("train", 8)):
        for name in ("cat", "it's {a}: dog"):
            folder = Path("my pictures", part, name)
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
    torch.save({"net": network_state(build_model("cifar_resnet8", 2, [0.5] * 3, [0.2] * 3))}, "own.pth.tar")
    assert main(["init", "mine", "--weights", "own.pth.tar", "--images", "my pictures"]) == 0
    command = [sys.executable, "-m", "snakemake", "all", "-n", "--cores", "1", "--configfile", "mine/config.yaml"]
    done = subprocess.run(command, env=project.environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    assert {"load_model", "list_images", "fit_pca", "plot_fig5", "make_table1", "make_claims"} <= set(jobs)
