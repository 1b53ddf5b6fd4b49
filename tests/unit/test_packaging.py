"""What is installed: the same versions wherever they are named."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lines):
    found = (re.fullmatch(r"([\w.-]+)==([\w.+]+)", line).groups() for line in lines)
    return {name.lower(): version for name, version in found}


@pytest.mark.parametrize(("environment", "faiss"), [("cpu", "faiss-cpu"), ("gpu", "faiss-gpu")])
def test_conda_environments_have_every_dependency_in_the_version_of_the_package(environment, faiss):
    lines = re.findall(r"^      - (\S+)$", (ROOT / "envs" / f"{environment}.yaml").read_text(), re.MULTILINE)
    found, extras = pins(lines), PROJECT["optional-dependencies"]
    for name, version in pins(PROJECT["dependencies"]).items():
        assert found.get(name) == version, name
    assert found[faiss] == pins(extras[environment])[faiss]
    assert found["timm"] == pins(extras["efficientnet"])["timm"]
    assert found["webdataset"] == pins(extras["webdataset"])["webdataset"]


def test_the_lock_file_has_every_pinned_version():
    locked = pins(line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#")
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["cpu"], *extras["workflow"], *extras["efficientnet"]]
    wanted += [*extras["webdataset"], *(line for line in extras["test"] if "==" in line)]
    for name, version in pins(wanted).items():
        assert locked.get(name) == version, name
