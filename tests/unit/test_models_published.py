"""Weights that torchvision publishes, without a network: one line that names the model and the file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nndefense.core.errors import FileFault
from nndefense.models.torchvision_nets import build

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "load_model.py"
NAME = "resnet18-f37072fd.pth"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of downloads of a machine whose network refuses every connection."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for scheme in ("http", "https", "HTTP", "HTTPS"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_a_job_says_which_model_and_file(cache, tmp_path):
    settings = {"architecture": "resnet18", "pretrained": "IMAGENET1K_V1", "mean": [0.5] * 3, "std": [0.5] * 3}
    command = [sys.executable, SCRIPT, "--name", "target", "--model", json.dumps(settings), "--classes", "1000"]
    command += ["--weights", tmp_path / "w", "--description", tmp_path / "d", "--log", tmp_path / "log"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    # torchvision's own line, that it downloads, comes before.
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: models.target: {cache / NAME}: weights 'IMAGENET1K_V1' of resnet18 are not there")
    assert "cannot be fetched (" in line
    assert f"allowed: a connection to https://download.pytorch.org/models/{NAME}, that file there" in line
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not [path for path in cache.iterdir() if path.name != NAME]


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut", b"\x93" * 100])
def test_a_damaged_download_is_named_as_such(cache, content):
    (cache / NAME).write_bytes(content)
    with pytest.raises(FileFault, match=rf"{NAME}: weights 'IMAGENET1K_V1' of resnet18 are damaged, delete them \("):
        build("resnet18", 1000, "IMAGENET1K_V1")


def test_memory_that_runs_out_is_no_damage(cache, monkeypatch):
    from torchvision import models

    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(models, "get_model", refuse)
    with pytest.raises(MemoryError):
        build("resnet18", 1000, "IMAGENET1K_V1")
