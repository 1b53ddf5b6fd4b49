"""One run at a time in a folder; after a run that was killed, the same command goes on."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from nndefense.core.lease import Lease

from .conftest import TINY, Project

pytestmark = pytest.mark.xdist_group("interruptions")

LOCKS, LEASE = ".snakemake/locks", ".snakemake/nndefense.lease"
MODEL = "results/models/small/model.json"
LONGER = {"models": {"small": {"train": {**TINY["models"]["small"]["train"], "epochs": 6}}}}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A new project; Snakemake takes braces in its path for wildcards when it looks for locks."""
    project = Project.create(tmp_path / "{x}")
    (project.folder / LOCKS).mkdir(parents=True)
    return project


def test_a_living_run_is_respected(project: Project) -> None:
    with Lease(project.folder / LEASE) as held:
        held.sign()
        refused = project.run("results/images/test/set.json", check=False)
        assert refused.returncode != 0
        assert f"another run works here (process {os.getpid()} of " in refused.stdout + refused.stderr
        assert "allowed: one at a time" in refused.stdout + refused.stderr
        assert project.would_run("results/images/test/set.json") == {"list_images": 1}
    assert not (project.folder / "results").exists()


def test_locks_of_a_dead_run_are_nobodys_and_others_stay(project: Project) -> None:
    target = "results/images/test/set.json"
    lock = project.folder / LOCKS / "0.output.lock"
    lock.write_text(f"{target}\n")
    refused = project.run(target, check=False)
    assert refused.returncode != 0
    assert "--unlock" in refused.stdout + refused.stderr
    assert lock.exists()
    # In a folder whose name this one's matches as a pattern, a lock is that folder's affair.
    neighbour = project.folder.parent / "y" / LOCKS
    neighbour.mkdir(parents=True)
    lock.rename(neighbour / lock.name)
    lock.write_text(f"{target}\n")
    dead = {"boot": "", "host": socket.gethostname(), "process": 1, "since": time.time()}
    (project.folder / LEASE).write_text(json.dumps(dead))
    assert "Directory cannot be locked" not in project.run(target, "-n").stderr
    assert lock.exists()
    project.run(target)
    assert (project.folder / target).exists()
    assert not lock.exists()
    assert (project.folder / LEASE).read_bytes() == b""


def still_there(folder: Path) -> list[Path]:
    """Processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += [process] if (process / "cwd").readlink() == folder else []
    return found


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_after_the_main_process_is_killed_the_same_command_goes_on(project: Project) -> None:
    """Its jobs are not killed with it: they end by themselves."""
    command = project.command(MODEL, changes=LONGER)
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = project.folder / "results/logs/train_model/small.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and "torch" in log.read_text()):
        assert process.poll() is None, "the run ended before the training began"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 5
    while still_there(project.folder):
        assert time.monotonic() < deadline, "a job outlives its run"
        time.sleep(0.05)
    assert list((project.folder / LOCKS).iterdir())
    project.run(MODEL, changes=LONGER)
    assert len((project.folder / "results/models/small/training.csv").read_text().splitlines()) == 7
    assert project.would_run(MODEL, changes=LONGER) == {}
