"""Real runs of a tiny experiment in temporary copies of the project."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "config.yaml", "config", "envs", "profiles", "report", "rules", "scripts", "workflow")
TARGETS = ["results/fig5.pdf", "results/table1.md", "results/accuracy.csv"]
RECIPE = {"images": "train", "epochs": 1, "threads": 1}
TINY = {
    "dataset": "shapes",
    "classes": 10,
    "images": {
        "train": {"kind": "shapes", "first": 0, "rows": 300},
        "test": {"kind": "shapes", "first": 100000, "rows": 80},
        "web": {"kind": "shapes", "first": 200000, "rows": 600, "content": "web"},
    },
    "queries": {"images": "test", "count": 40},
    "models": {
        "small": {"architecture": "cifar_resnet8", "train": RECIPE | {"batch": 50}},
        "other": {"architecture": "cifar_resnet8", "train": RECIPE | {"batch": 30}},
    },
    "target": "small",
    "surrogate": "other",
    "pools": {"All": {"images": ["web"]}, "Targeted": {"images": ["web"], "tags": "task"}},
    "sizes": [60, 120],
    "features": {"layers": ["conv_4_1"], "components": 16, "pca_samples": 60},
    "index": {"neighbors": 30},
    "attacks": {"methods": {"pgd": {"steps": 2, "restarts": 1}}, "epsilons": [0.04, 0.08]},
    "votes": {"neighbors": [10]},
    "base": {"features": "conv_4_1", "epsilon": 0.08, "neighbors": 10},
}


class Project:
    """A copy of the workflow in a folder of its own, with the tiny experiment as its configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> "Project":
        folder.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder / part)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY, sort_keys=False))
        return cls(folder)

    def copy(self, folder: Path) -> "Project":
        """The project and its results, with all times kept, as Snakemake compares them."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Project(folder)

    def command(self, *arguments: str, changes: dict | None = None, cores: int = 2, gpus: int = 0) -> list[str]:
        configs = ["tiny.yaml"]
        if changes:
            (self.folder / "changes.yaml").write_text(yaml.safe_dump(changes, sort_keys=False))
            configs.append("changes.yaml")
        snakemake = [sys.executable, "-m", "snakemake"]
        targets = [one for one in arguments if not one.startswith("-")] or TARGETS
        flags = [one for one in arguments if one.startswith("-")]
        return [
            *snakemake,
            *targets,
            "--cores",
            str(cores),
            "--configfile",
            *configs,
            "--resources",
            f"gpu={gpus}",
            *flags,
        ]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(
        self, *arguments: str, changes: dict | None = None, check: bool = True, **options: int
    ) -> subprocess.CompletedProcess:
        done = subprocess.run(
            self.command(*arguments, changes=changes, **options),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=400,
        )
        if check:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done

    def would_run(self, *targets: str, changes: dict | None = None) -> dict[str, int]:
        """Rules that a dry run lists, with their number of jobs, without `all`."""
        output = self.run(*targets, "-n", changes=changes)
        table = re.search(r"Job stats:\n.*?\n-+ .*?\n(.*?)\ntotal ", output.stdout + output.stderr, flags=re.DOTALL)
        if table is None:
            assert "Nothing to be done" in output.stdout + output.stderr
            return {}
        counts = dict(line.split() for line in table[1].splitlines())
        return {name: int(count) for name, count in counts.items() if name != "all"}


def by_script(jobs: dict[str, int]) -> dict[str, int]:
    """Jobs of rules that run one script, added up: search_span_clean and search_span_pgd are search_span."""
    scripts = sorted((path.stem for path in (ROOT / "scripts").glob("*.py")), key=len, reverse=True)
    found: dict[str, int] = {}
    for rule, count in jobs.items():
        name = next((one for one in scripts if rule.startswith(f"{one}_")), rule)
        found[name] = found.get(name, 0) + count
    return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny experiment, run to its end once. Tests that change it work on a copy."""
    # Folders of workers that run beside each other lie in one folder; who comes second waits, and copies.
    beside = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent if beside else tmp_path_factory.mktemp("made")
    with open(folder / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "finished.done"
        if not done.exists():
            # What another worker has left that did not come to the end.
            shutil.rmtree(folder / "finished", ignore_errors=True)
            Project.create(folder / "finished").run()
            done.touch()
    return Project(folder / "finished").copy(tmp_path_factory.mktemp("finished") / "project")


@pytest.fixture
def again(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project that a test may change."""
    return finished.copy(tmp_path / "project")
