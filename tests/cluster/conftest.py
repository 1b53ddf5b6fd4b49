"""A cluster for the tests of this folder (`make test-cluster`); skipped, with the reason, where none can start."""

import fcntl
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from ..workflow.conftest import TINY, Project
from .node import Node, missing

# As few jobs as make a figure and a table: a job of Slurm costs some 9 s, whatever it does.
SMALL = TINY | {
    "gpu": 0,
    "pools": {"Targeted": {"images": ["web"], "tags": "task"}},
    "attacks": TINY["attacks"] | {"epsilons": [0.08], "settings": ["gray_box"]},
}
TARGETS = ("results/fig5.pdf", "results/table1.md")


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A running cluster of one node."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with open(Path(tempfile.gettempdir(), "nndefense-cluster.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pytest.skip("these tests are running already")
        with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
            started = Node(Path(folder))
            try:
                started.start()
                yield started
            finally:
                started.stop()


class Run:
    """A finished run of the workflow: its exit status and what it printed."""

    def __init__(
        self, project: Project, *targets: str, seconds: float, profile: str | None = None, more: Iterable[str] = ()
    ) -> None:
        """Runs the targets.

        Args:
            seconds: the run is killed, and the test fails, when it takes longer.
            profile: name of a shipped one; None for what Snakemake takes by itself.
            more: what else stands on the command line.
        """
        command = [sys.executable, "-m", "snakemake", *targets, "--configfile", "tiny.yaml"]
        command += [*(["--workflow-profile", profile] if profile else []), *more]
        options = {"cwd": project.folder, "env": project.environment(), "text": True, "timeout": seconds}
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        except subprocess.TimeoutExpired as error:
            pytest.fail(f"not done after {seconds:g} s:\n{(error.output or b'').decode()[-6000:]}")
        self.code, self.log = done.returncode, done.stdout

    @property
    def submitted(self) -> list[str]:
        """Ids that sbatch gave, in its order."""
        return re.findall(r"has been submitted with SLURM jobid (\d+)", self.log)

    @property
    def counts(self) -> dict[str, int]:
        """Jobs of every rule that was to run."""
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", self.log, re.MULTILINE)}

    def asked(self, rule: str, resource: str) -> int:
        """What the first job of a rule asks for."""
        return int(re.search(rf"rule {rule}:.*?resources:.*?\b{resource}=(\d+)", self.log, re.DOTALL)[1])

    @property
    def local(self) -> set[str]:
        """Rules that ran where Snakemake runs."""
        return set(re.findall(r"^localrule (\w+):", self.log, re.MULTILINE))


def small_project(folder: Path, **changes: object) -> Project:
    project = Project.create(folder)
    configure(project, **changes)
    return project


def configure(project: Project, **changes: object) -> None:
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))


@pytest.fixture(scope="session")
def by_slurm(node: Node, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Run]:
    project = small_project(tmp_path_factory.mktemp("slurm"))
    return project, Run(project, *TARGETS, profile="slurm", seconds=480)
