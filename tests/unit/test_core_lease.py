"""One run at a time: who has the lease is told, who was killed does not keep it, and nobody else's is taken."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nndefense.core import lease
from nndefense.core.errors import FileFault, InputError
from nndefense.core.lease import Lease, is_orphaned

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from nndefense.core.lease import Lease
with Lease(sys.argv[2]) as held:
    held.sign()
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a {x} b").mkdir()
    return tmp_path / "a {x} b" / "lease"


@pytest.fixture
def other(file):
    """Another process that holds the lease."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, SCRIPTS, file], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_lease_is_given_back(file):
    for _ in range(2):
        with Lease(file) as held:
            assert not held.orphaned
            held.sign()
            assert json.loads(file.read_bytes())["process"] == os.getpid()
        assert file.read_bytes() == b""
    assert not is_orphaned(file)


def test_a_second_holder_is_refused_and_told_who_the_first_is(file, other):
    with pytest.raises(
        InputError, match=rf"another run works here \(process {other.pid} of .+, since 2.+; allowed: one"
    ):
        Lease(file).__enter__()
    assert not is_orphaned(file)


def test_who_is_killed_leaves_an_orphan(file, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert is_orphaned(file)
    with Lease(file) as held:
        assert held.orphaned
        assert not is_orphaned(file)
    assert not is_orphaned(file)


def test_a_holder_that_signs_nothing_leaves_no_orphan(file):
    with Lease(file) as held:
        assert not held.orphaned
    assert not is_orphaned(file)


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"[1]", b'{"host": "', b'{"boot": "", "host": ""}'])
def test_a_damaged_lease_is_nobodys(file, content):
    file.write_bytes(content)
    assert not is_orphaned(file)
    with Lease(file) as held:
        assert not held.orphaned


def test_a_holder_of_another_machine_is_not_known_to_be_dead(file, monkeypatch):
    file.write_text(json.dumps({"boot": "another", "host": "far", "process": 1, "since": 0}))
    assert not is_orphaned(file)
    for here in ({"_boot": lambda: "another"}, {"socket.gethostname": lambda: "far"}):
        with monkeypatch.context() as changed:
            for name, value in here.items():
                changed.setattr(f"{lease.__name__}.{name}", value)
            assert is_orphaned(file)


def test_a_file_system_without_locks_is_left_to_others(file, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lease.fcntl, "flock", refuse)
    with Lease(file) as held:
        held.sign()
        assert not held.orphaned
    assert file.read_bytes() == b""


def test_a_lease_that_cannot_be_written_is_one_line(file, tmp_path, monkeypatch):
    with pytest.raises(FileFault, match=r"nowhere/lease: cannot be written \(No such file or directory\)$"):
        Lease(tmp_path / "nowhere" / "lease").__enter__()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lease.os, "pwrite", full)
    with pytest.raises(FileFault, match=r"cannot be written \(No space left on device\)$"), Lease(file) as held:
        held.sign()
    assert not is_orphaned(file)
