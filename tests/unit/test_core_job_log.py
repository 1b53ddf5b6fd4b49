"""Logs that cannot be written, errors in one line, and jobs that outlive their run, by a script as rules call them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nndefense.core.job_log import JobLog

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
from nndefense.core.command import parser, run
from nndefense.core.errors import FileFault

def main(arguments, job):
    job.say("begins")
    if arguments.what == "sleep":
        time.sleep(60)
    try:
        if arguments.what != "work":
            bytearray(1 << 60)
    except MemoryError as error:
        raise error if arguments.what == "memory" else FileFault("x.npz: is damaged; delete it") from error

options = parser("")
options.add_argument("what")
run(main, options.parse_args())
"""
NEEDED = "error: out of memory: more memory is needed, or a lower `batch` in the configuration\n"


def job(*arguments, **options):
    command = [sys.executable, "-c", SCRIPT, SCRIPTS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_a_log_is_written_anew(tmp_path):
    path = tmp_path / "new" / "it's {x}.log"
    for _ in range(2):
        assert job("work", "--log", path).stderr == ""
        begins, finished = path.read_text().splitlines()
        assert begins == "begins"
        assert finished.startswith("finished in ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_once_and_the_job_goes_on():
    done = job("work", "--log", "/dev/full")
    assert done.returncode == 0
    assert done.stderr == "/dev/full: cannot be written (No space left on device); the job goes on without its log\n"
    done = job("memory", "--log", "/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines(keepends=True)[1:] == [NEEDED]


def test_a_log_without_a_place_is_said_once(tmp_path):
    (tmp_path / "file").touch()
    done = job("work", "--log", tmp_path / "file" / "a.log")
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert "file/a.log: cannot be written (" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_where_nothing_can_be_written_the_exit_code_tells():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", SCRIPT, SCRIPTS, "memory", "--log", "/dev/full"]
        assert subprocess.run(command, stderr=full, timeout=60, check=False).returncode == 1


def test_lines_find_space_again(tmp_path, monkeypatch, capsys):
    log, write = JobLog(str(tmp_path / "a.log")), os.write

    def full(*_):
        raise OSError(28, "No space left on device")

    for text, now in (("lost", full), ("lost again", full), ("kept", write)):
        monkeypatch.setattr("nndefense.core.job_log.os.write", now)
        print(text, file=log, flush=True)
    assert (tmp_path / "a.log").read_text() == "kept\n"
    assert capsys.readouterr().err.count("No space left on device") == 1


@pytest.mark.parametrize("what", ["memory", "taken for damage"])
def test_memory_that_runs_out_is_one_line_whatever_it_was_taken_for(tmp_path, what):
    done = job(what, "--log", tmp_path / "a.log")
    assert (done.returncode, done.stderr) == (1, NEEDED)
    assert (tmp_path / "a.log").read_text() == "begins\n" + NEEDED


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_a_job_ends_with_its_run(tmp_path):
    run = subprocess.Popen(["sleep", "60"])
    log = tmp_path / "a.log"
    command = [sys.executable, "-c", SCRIPT, SCRIPTS, "sleep", "--log", log]
    started = subprocess.Popen(command, env={**os.environ, "NNDEFENSE_RUN": str(run.pid)})
    try:
        deadline = time.monotonic() + 30
        while not (log.exists() and log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert started.poll() is None
        run.kill()
        run.wait()
        assert started.wait(10) == -signal.SIGKILL
        # One whose run has ended before it begins does nothing.
        late = job("work", "--log", tmp_path / "late.log", env={**os.environ, "NNDEFENSE_RUN": str(run.pid)})
        assert late.returncode == -signal.SIGKILL
        assert not (tmp_path / "late.log").exists()
    finally:
        run.kill()
        started.kill()


@pytest.mark.parametrize("value", ["", "none"])
def test_a_job_without_a_run_is_nobodys(tmp_path, value):
    assert job("work", env={**os.environ, "NNDEFENSE_RUN": value}).returncode == 0
