"""Jobs of a finished run, run again in this process, so that every reader meets a file that was tampered with."""

import contextlib
import io
import os
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nndefense.core import whose
from nndefense.core.audit import files_below
from nndefense.core.seals import seal_of

from .conftest import Project


class Job(NamedTuple):
    """A job as a dry run lists it: rule, inputs, outputs, and the words of its command."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    words: tuple[str, ...]


def jobs_of(project: Project, *targets: str, **options: dict) -> list[Job]:
    """All jobs of some targets, each once."""
    text = project.run(*targets, "-n", "-p", "-F", **options).stdout
    blocks = re.findall(r"\n(?:local)?rule (\w+):\n((?: {4}.*\n)+)Shell command: (.*)\n", text)
    jobs = [
        Job(rule, _paths(facts, "input"), _paths(facts, "output"), tuple(shlex.split(line)))
        for rule, facts, line in blocks
    ]
    assert len(jobs) > 10
    return jobs


def _paths(facts: str, key: str) -> tuple[str, ...]:
    found = re.search(rf"^    {key}: (.*)$", facts, flags=re.MULTILINE)
    return tuple(found[1].split(", ")) if found else ()


def kind_of(path: str) -> str:
    """What kind of artifact a path is: its numbers and the names of a run's models, sets, pools and layers left out."""
    words = r"\b(small|other|train|test|web|All|Targeted|conv_4_1|gray_box|black_box|pgd)\b"
    return re.sub(r"\d+(\.\d+)?", "N", re.sub(words, "X", path))


def siblings(results: Path) -> dict[str, list[str]]:
    """Files of a run by kind."""
    found: dict[str, list[str]] = {}
    for path in files_below(results):
        found.setdefault(kind_of(os.path.relpath(path, results)), []).append(path)
    return found


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Stand in a project, working for its results."""
    before, arguments, variable = os.getcwd(), sys.argv, os.environ.get(whose.VARIABLE)
    os.chdir(folder)
    os.environ[whose.VARIABLE] = "results"
    try:
        yield
    finally:
        os.chdir(before)
        sys.argv = arguments
        os.environ.pop(whose.VARIABLE)
        if variable is not None:
            os.environ[whose.VARIABLE] = variable
        whose.begin(None)


def replay(job: Job) -> str:
    """Run a job's script in this process; returns its error, or nothing. Stand in the project's folder."""
    assert job.words[0] == "python"
    sys.argv = list(job.words[1:])
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            runpy.run_path(job.words[1], run_name="__main__")
        except SystemExit as stop:
            return said.getvalue() if stop.code else ""
    return ""


def content_of(path: str) -> object:
    """What a file holds, whoever made it: the digest of its content, or its bytes where it carries no seal."""
    seal = seal_of(path)
    return Path(path).read_bytes() if seal is None else seal["sha256"]
