"""The package as it is installed: what is in it, and that it runs in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from .conftest import ROOT, TINY, Project

pytestmark = pytest.mark.xdist_group("workflow")

INSIDE = "nndefense/workflow/"
MODULE = """
from nndefense.flow.shipped import workflow_folder
configfile: "mine.yaml"
module theirs:
    snakefile: str(workflow_folder() / "Snakefile")
    config: config
use rule * from theirs as their_*
rule own:
    input: "results/fig5.pdf"
    output: "own.txt"
    shell: "touch {output}"
"""


class Built(NamedTuple):
    """The project that was built, and what was made of it."""

    project: Path
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and a source distribution, built as pip builds them, of a copy of the project."""
    project = Project.create(tmp_path_factory.mktemp("built") / "project").folder
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements.lock", "schemas"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, project / name)
    found = []
    for kind in ("wheel", "sdist"):
        code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
        command = [sys.executable, "-c", code, str(project.parent / kind)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        found += (project.parent / kind).iterdir()
    return Built(project, *found)


@pytest.fixture(scope="module")
def site(built, tmp_path_factory):
    """The wheel, unpacked as pip unpacks it."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(built.wheel).extractall(folder)
    return folder


def shipped(root: Path) -> set[str]:
    """What has to be in the package besides the library."""
    patterns = ("rules/*.smk", "scripts/*.py", "envs/*.yaml", "profiles/*/*.yaml", "report/*.rst", "config/**/*.yaml")
    found = {path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern)}
    return found | {"Snakefile", "config.yaml", "requirements.lock", "schemas/config.schema.json"}


def test_a_wheel_has_library_and_workflow(built):
    names = set(zipfile.ZipFile(built.wheel).namelist())
    wanted = shipped(built.project)
    assert {name.removeprefix(INSIDE) for name in names if name.startswith(INSIDE)} == wanted
    assert len(wanted) > 90
    library = built.project / "scripts"
    wanted = {path.relative_to(library).as_posix() for path in (library / "nndefense").rglob("*.*")}
    wanted = {one for one in wanted if one.endswith((".py", ".json", ".csv", "py.typed")) and "__pycache__" not in one}
    assert wanted <= names
    assert "nndefense/py.typed" in wanted


def test_a_wheel_can_be_built_of_a_source_distribution(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped(built.project) | {"setup.py", "pyproject.toml", "LICENSE"} <= names


def installed(site: Path, folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, "-P", "-m", *command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_it_runs_in_an_empty_folder_with_targets_behind_options(site, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY | {"run": "mine"}))
    line = "run --printshellcmds -n --cores 8 --resources gpu=4 results/mine/fig5.pdf --config mine.yaml"
    done = installed(site, tmp_path, "nndefense.cli", *line.split())
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert re.search(r"python \S+/nndefense/workflow/scripts/plot_figure.py .+ --pdf results/mine/fig5.pdf", said)
    assert f"{site.name}/nndefense/workflow/profiles/default" in said
    assert str(ROOT) not in said.replace(sys.prefix, "")
    assert {one.name for one in tmp_path.iterdir()} <= {"mine.yaml", ".snakemake"}


def test_it_is_a_module_of_another_workflow(site, tmp_path):
    (tmp_path / "Snakefile").write_text(MODULE)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY))
    done = installed(site, tmp_path, "snakemake", "own", "-n", "--cores", "1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "rule their_plot_fig5:" in done.stdout + done.stderr


def test_a_job_has_the_same_code_wherever_it_is_installed(built, site):
    """Results of a checkout stay as they are when the package is installed."""
    code = "import sys; from nndefense.core.fingerprint import fingerprint as f; print(*map(f, sys.argv[1:]))"
    found = []
    for library, scripts in ((site, site / INSIDE / "scripts"), (built.project / "scripts", built.project / "scripts")):
        environment = {**os.environ, "PYTHONPATH": str(library), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", "-c", code, *sorted(map(str, scripts.glob("*.py")))]
        found.append(subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True))
    assert found[0].stdout == found[1].stdout
    assert len(found[0].stdout.split()) > 40
