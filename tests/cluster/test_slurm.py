"""A real Slurm runs the workflow by the shipped profile: the same bytes as on one machine; failures are seen."""

import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from ..workflow.conftest import Project
from .conftest import TARGETS, Run, configure, small_project
from .node import Node

LIGHT = {"make_table1", "plot_fig5"}


def artifacts(project: Project) -> dict[str, bytes]:
    """Every file of the results but logs and benchmarks, which hold times."""
    root = project.folder / "results"
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(root) for path in files}
    return {str(name): path.read_bytes() for path, name in names.items() if name.parts[0] not in ("logs", "benchmarks")}


def test_slurm_runs_every_job_but_the_light_ones(by_slurm: tuple[Project, Run], node: Node) -> None:
    _, run = by_slurm
    assert run.code == 0, run.log[-6000:]
    jobs = {name: node.job(name) for name in run.submitted}
    assert len(jobs) > 15
    assert {job["JobState"] for job in jobs.values()} == {"COMPLETED"}
    comments = [job["Comment"] for job in jobs.values()]
    assert any("train_model" in comment for comment in comments)
    assert run.local >= LIGHT
    assert not [comment for comment in comments if any(name in comment for name in run.local)]


def test_jobs_ask_for_no_gpu_where_the_configuration_says_none(by_slurm: tuple[Project, Run], node: Node) -> None:
    assert not [name for name in by_slurm[1].submitted if "gpu" in node.job(name).get("TresPerJob", "")]


def test_artifacts_have_the_bytes_of_a_local_run(by_slurm: tuple[Project, Run], tmp_path: Path) -> None:
    project = small_project(tmp_path)
    run = Run(project, *TARGETS, seconds=240)
    assert run.code == 0, run.log[-6000:]
    assert run.submitted == []
    ours, theirs = artifacts(by_slurm[0]), artifacts(project)
    assert len(ours) > 30
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


@pytest.fixture
def again(by_slurm: tuple[Project, Run], tmp_path: Path) -> Project:
    """A copy of the finished project that a test may change."""
    return by_slurm[0].copy(tmp_path / "project")


def test_failing_job_is_noticed_within_a_minute(again: Project, node: Node) -> None:
    model = again.folder / "results/models/small"
    weights, measured = model / "weights.safetensors", model / "clean_accuracy.json"
    weights.write_bytes(weights.read_bytes()[:100])
    measured.unlink()
    run = Run(again, str(measured.relative_to(again.folder)), profile="slurm", seconds=150)
    assert run.code != 0
    (name,) = run.submitted
    job = node.job(name)
    assert job["JobState"] == "FAILED"
    assert f"SLURM-job '{name}' failed" in run.log
    assert re.search(r"^error: results/models/small/weights.safetensors: ", run.log, re.MULTILINE)
    noticed = re.search(r"^\[(.+)\]\nError in rule evaluate_model", run.log, re.MULTILINE)
    waited = datetime.strptime(noticed[1], "%a %b %d %H:%M:%S %Y") - datetime.fromisoformat(job["EndTime"])
    assert 0 <= waited.total_seconds() < 60
    assert node.jobs() == []


def test_job_with_a_network_asks_for_a_gpu_where_the_configuration_says_so(again: Project, node: Node) -> None:
    configure(again, gpu=1)
    shutil.rmtree(again.folder / "results/models/other")
    run = Run(again, "results/models/other/model.json", profile="slurm", seconds=150)
    assert run.code == 0, run.log[-6000:]
    (name,) = run.submitted
    assert node.job(name)["TresPerJob"] == "gres:gpu:1"


def test_group_asks_for_the_time_of_all_its_jobs_and_the_memory_of_one(again: Project, node: Node) -> None:
    """Without caps it asks for the memory and cores of all at once, and for the time of one, and may wait for ever."""
    rules = ("search_span_clean", "merge_neighbors_clean", "vote_clean")
    answers = again.folder / "results/predictions/small/conv_4_1/clean.npz"
    before = answers.read_bytes()
    answers.unlink()
    for path in (again.folder / "results/neighbors").rglob("clean.npz"):
        path.unlink()
    groups = ["--groups", *(f"{rule}=retrieval" for rule in rules)]
    run = Run(again, str(answers.relative_to(again.folder)), profile="slurm", more=groups, seconds=150)
    assert run.code == 0, run.log[-6000:]
    assert answers.read_bytes() == before
    (name,) = run.submitted
    job = node.job(name)
    assert run.counts["total"] == sum(run.counts[rule] for rule in rules) > len(rules)
    minutes = sum(run.counts[rule] * run.asked(rule, "runtime") for rule in rules)
    assert job["NumCPUs"] == "1"
    assert job["MinMemoryNode"].rstrip("M") == str(max(run.asked(rule, "mem_mb") for rule in rules))
    assert job["TimeLimit"] == f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"
