"""Runs that are killed at any moment, or find the disk full: the same command, again, ends with the same tables."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Project

pytestmark = pytest.mark.slow
KILLS = 20
TABLES = ("results/fig5.csv", "results/table1.csv", "results/accuracy.csv")
# Writers that take their time, so that a kill finds them at work: before a file is synced, and before it is renamed.
SLOW = """
import os, time
sync, replace = os.fsync, os.replace
os.fsync = lambda descriptor: (time.sleep(0.4), sync(descriptor))[1]
os.replace = lambda *names, **places: (time.sleep(0.2), replace(*names, **places))[1]
"""


def tables(project: Project) -> dict[str, bytes]:
    return {name: (project.folder / name).read_bytes() for name in TABLES}


def start(project: Project, slowed: Path | None = None) -> subprocess.Popen:
    """The command that a user types, as the head of a process group of its own."""
    environment = project.environment()
    if slowed is not None:
        environment["PYTHONPATH"] = str(slowed)
    return subprocess.Popen(
        project.command(),
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def parts(project: Project) -> list[str]:
    """Files that were being written."""
    return [str(path) for path in (project.folder / "results").rglob(".*.part")]


@pytest.mark.parametrize("everything", [True, False], ids=["with its jobs", "snakemake alone"])
def test_a_plain_restart_ends_with_the_same_tables(finished, tmp_path, everything):
    chance, inside = random.Random(5), 0
    project = Project.create(tmp_path / "project")
    slowed = tmp_path / "slow"
    slowed.mkdir()
    (slowed / "sitecustomize.py").write_text(SLOW)
    kills = 0
    while kills < KILLS // 2:
        running = start(project, slowed)
        try:
            running.communicate(timeout=chance.uniform(3, 14))
            break
        except subprocess.TimeoutExpired:
            pass
        if everything:
            os.killpg(running.pid, signal.SIGKILL)
        else:
            running.kill()
        running.communicate()
        kills += 1
        inside += bool(parts(project))
    assert kills >= 4
    project.run()
    assert tables(project) == tables(finished)
    assert not parts(project)
    print(f"{kills} kills, {inside} of them inside writes")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("a disk of its own needs the right to mount one")
    yield place
    for _ in range(20):
        if not subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
            break
        time.sleep(0.5)


@pytest.mark.parametrize("left", [0, 100, 300, 700, 1500], ids=lambda left: f"{left} KB left")
def test_a_full_disk_says_so_in_a_line_and_room_is_all_it_needs(finished, small_disk, left):
    project = Project.create(small_disk / "project")
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(max(0, free - left * 1024)))
    failed = project.run(check=False)
    assert failed.returncode != 0
    said = failed.stdout + failed.stderr
    assert "No space left on device" in said
    filler.unlink()
    project.run()
    assert tables(project) == tables(finished)
