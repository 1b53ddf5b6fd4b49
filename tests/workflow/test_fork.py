"""A run that begins with the files of another one: what it makes again, and that the other one keeps its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from nndefense.commands.fork import fork

from .conftest import TARGETS, Project
from .test_reruns import REPORT, VOTES

pytestmark = pytest.mark.xdist_group("workflow")

NEIGHBORS = {"votes": {"neighbors": [7]}, "base": {"neighbors": 7}}
WIDE = [one.replace("results/", "results/wide/") for one in TARGETS]


class Facts(NamedTuple):
    """What a file is, and was last changed, on which place of the disk."""

    content: bytes
    changed: int
    place: int


def facts(folder: Path) -> dict[str, Facts]:
    """Of all files of a run without a name, by path; the runs below it, and hidden files, are none of it."""
    return {
        path.relative_to(folder).as_posix(): Facts(path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != "wide" and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def forked(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished experiment, and a run `wide` that begins with its files."""
    project = finished.copy(tmp_path_factory.mktemp("forked") / "project")
    fork("", "wide", project.folder)
    return project


def wide(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {**(changes or {}), "run": "wide"}


def verified(project: Project, results: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/verify.py", results]
    return subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True)


def test_nothing_is_made_again(forked):
    assert forked.would_run(*WIDE, changes=wide()) == {}
    # The key that `nndefense run` looks at changes no job.
    assert forked.would_run(*WIDE, changes=wide({"base_run": ""})) == {}


def test_a_run_that_began_with_another_is_a_base_like_any_other(forked, tmp_path):
    project = forked.copy(tmp_path / "project")
    fork("wide", "wider", project.folder)
    assert project.would_run("results/wider/fig5.pdf", changes={"run": "wider"}) == {}


@pytest.mark.parametrize(
    "changes",
    [
        NEIGHBORS,
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in (
                {"attacks": {"epsilons": [0.04, 0.08, 0.1]}},
                {"sizes": [60, 120, 240]},
                {"models": {"small": {"train": {"epochs": 2}}}},
            )
        ),
    ],
    ids=["neighbors", "budget", "size", "network"],
)
def test_it_makes_what_the_other_would_make(forked, changes):
    """And so only what a change changes, which test_reruns is about."""
    found = forked.would_run(*WIDE, changes=wide(changes))
    assert found
    assert found == forked.would_run(changes=changes)


def test_votes_of_another_k_leave_the_other_run_as_it_is(forked, tmp_path):
    project = forked.copy(tmp_path / "project")
    shutil.rmtree(project.folder / "results/wide")
    before = facts(project.folder / "results")
    fork("", "wide", project.folder)
    results = project.folder / "results/wide"
    assert project.would_run(*WIDE, changes=wide(NEIGHBORS)) == {**VOTES, **REPORT}
    project.run(*WIDE, changes=wide(NEIGHBORS))
    assert project.would_run(*WIDE, changes=wide(NEIGHBORS)) == {}
    assert facts(project.folder / "results") == before
    assert project.would_run() == {}
    # What was made again lies elsewhere on the disk, and says something else; the rest is one and the same.
    after, own = facts(results), {name for name, one in facts(results).items() if one.place != before[name].place}
    assert {name.partition("/")[0] for name in own if not name.startswith(("logs/", "benchmarks/", "seals/"))} == {
        "accuracy.csv", "fig5.csv", "fig5.pdf", "fig5.png", "predictions", "table1.csv", "table1.md", "table1.tex"
    }  # fmt: skip
    assert after["accuracy.csv"].content != before["accuracy.csv"].content
    assert "models/small/weights.safetensors" in set(after) - own
    for folder in ("results", "results/wide"):
        said = verified(project, folder)
        assert said.returncode == 0, said.stderr
        assert "has no seal" not in said.stderr
    # The files are no less told apart than those of any run.
    votes = next(name for name in own if name.startswith("predictions/"))
    shutil.copy2(project.folder / "results" / votes, results / votes)
    said = verified(project, "results/wide")
    assert said.returncode == 1
    assert f"results/wide/{votes}: is not the one that was made last, but of an earlier or another run" in said.stderr


def test_the_command_run_begins_with_the_base(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    (project.folder / "wide.yaml").write_text(yaml.safe_dump({**NEIGHBORS, "run": "wide", "base_run": ""}))
    environment = {**project.environment(), "PYTHONPATH": str(project.folder / "scripts"), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-P", "-m", "nndefense.cli", "run", "table1", "--configfile", "tiny.yaml", "wide.yaml"]
    said = []
    for words in (["--dry-run"], ["--cores", "2"], ["--dry-run"]):
        done = subprocess.run(
            [*command, *words], cwd=project.folder, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(done)
    assert said[0].stdout.startswith(
        "base_run: results/wide is not there yet; it will begin with the files of results\n"
    )
    assert "train_model" in said[0].stdout + said[0].stderr
    assert said[1].stdout.startswith("base_run: results/wide: begins with ")
    assert "train_model" not in said[1].stdout + said[1].stderr
    assert "make_table1" in said[1].stdout + said[1].stderr
    assert "Nothing to be done" in said[2].stdout + said[2].stderr
    assert (project.folder / "results/wide/table1.md").read_bytes() != (
        project.folder / "results/table1.md"
    ).read_bytes()


def test_it_waits_for_no_run_that_was_killed(forked, tmp_path):
    """Nor do runs wait for it: the folder's lease is given back."""
    project = forked.copy(tmp_path / "project")
    fork("wide", "third", project.folder)
    assert not (project.folder / ".snakemake/nndefense.lease").read_bytes()
    os.utime(project.folder / "results/third/pools/All.parquet")
    assert project.would_run("results/third/pools/All.parquet", changes={"run": "third"}) == {}
