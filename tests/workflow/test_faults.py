"""Every kind of artifact of a finished run, damaged, swapped, or foreign: its readers refuse it, or it is harmless.

Kinds are found in the tree of results. A file is tampered with, each rule that reads it runs again, and either its
error is one line, or what it makes is what it had made.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nndefense.core.audit import audit, files_below

from .conftest import Project
from .replay import Job, content_of, jobs_of, replay, siblings, working_in

Tamper = Callable[[Path, list[str], Path, random.Random], bool]


def flip(share: float) -> Tamper:
    """One bit, at a share of the file's length."""

    def tamper(path: Path, others: list[str], foreign: Path, chance: random.Random) -> bool:
        content = bytearray(path.read_bytes())
        if not content:
            return False
        content[min(len(content) - 1, int(share * len(content)))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        return True

    return tamper


def cut(path: Path, others: list[str], foreign: Path, chance: random.Random) -> bool:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    return True


def shorten(path: Path, others: list[str], foreign: Path, chance: random.Random) -> bool:
    path.write_bytes(path.read_bytes()[:-2])
    return True


def empty(path: Path, others: list[str], foreign: Path, chance: random.Random) -> bool:
    path.write_bytes(b"")
    return True


def swap(path: Path, others: list[str], foreign: Path, chance: random.Random) -> bool:
    found = [one for one in others if one != str(path) and Path(one).read_bytes() != path.read_bytes()]
    if not found:
        return False
    other = Path(chance.choice(found))
    mine, its = path.read_bytes(), other.read_bytes()
    path.write_bytes(its)
    other.write_bytes(mine)
    return True


def replace(path: Path, others: list[str], foreign: Path, chance: random.Random) -> bool:
    if not foreign.is_file() or foreign.read_bytes() == path.read_bytes():
        return False
    shutil.copyfile(foreign, path)
    return True


FAULTS: dict[str, Tamper] = {
    "head": flip(0.01),
    "body": flip(0.4),
    "tail": flip(0.97),
    "last": flip(1.0),
    "cut": cut,
    "shortened": shorten,
    "empty": empty,
    "swapped": swap,
    "foreign": replace,
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same experiment with another seed."""
    project = Project.create(tmp_path_factory.mktemp("foreign"))
    project.run(changes={"seed": 2})
    return project


@pytest.fixture(scope="module")
def victim(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished run to tamper with; every test puts it right again."""
    return finished.copy(tmp_path_factory.mktemp("victim") / "project")


@pytest.fixture(scope="module")
def jobs(victim: Project) -> list[Job]:
    return jobs_of(victim)


@pytest.fixture
def results(victim: Project) -> Iterator[Path]:
    """Its results, tampered with until the test ends."""
    folder = victim.folder / "results"
    kept = {path: (Path(path).read_bytes(), Path(path).stat()) for path in files_below(folder)}
    with working_in(victim.folder):
        yield Path("results")
    for path, (content, _) in kept.items():
        if not Path(path).is_file() or Path(path).read_bytes() != content:
            Path(path).write_bytes(content)


def tampered(kind: list[str], fault: str, other: Path) -> str | None:
    """Tamper with the first file of a kind that this can be done to."""
    chance = random.Random(f"{fault} {kind[0]}")
    for path in kind:
        if FAULTS[fault](Path(path), kind, other / path, chance):
            return path
    return None


@pytest.mark.parametrize("fault", FAULTS)
def test_whoever_reads_it_refuses_it_or_is_not_misled(results, jobs, foreign, fault):
    silent, counts = [], {"refused": 0, "harmless": 0}
    for kind, paths in siblings(results).items():
        kept = {path: Path(path).read_bytes() for path in paths}
        path = tampered(paths, fault, foreign.folder)
        if path is None:
            continue
        readers = {job.rule: job for job in jobs if path in job.inputs}
        for job in readers.values():
            outputs = {one: (content_of(one), Path(one).read_bytes()) for one in job.outputs}
            error = replay(job)
            if error:
                assert error.startswith("error: "), error
                assert len(error.splitlines()) == 1, error
                counts["refused"] += 1
            elif all(content_of(one) == before for one, (before, _) in outputs.items()):
                counts["harmless"] += 1
            else:
                silent.append((kind, job.rule))
            for one, (_, content) in outputs.items():
                Path(one).write_bytes(content)
        for one, content in kept.items():
            Path(one).write_bytes(content)
    print(fault, counts)
    assert not silent
    assert counts["refused"] > 20


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_it(results, foreign, fault):
    missed, found = [], 0
    for kind, paths in siblings(results).items():
        kept = {path: Path(path).read_bytes() for path in paths}
        path = tampered(paths, fault, foreign.folder)
        if path is None:
            continue
        # A ledger of another run is whole; it is what it tells of that does not fit.
        if audit(files_below(results) if fault == "foreign" else paths, results).faults:
            found += 1
        else:
            missed.append(kind)
        for one, content in kept.items():
            Path(one).write_bytes(content)
    print(fault, found)
    assert not missed
    assert not audit(files_below(results), results).faults
