"""Whole runs: killed ones complete with the same bytes as one that nothing disturbed; all targets are made."""

import base64
import csv
import json
import os
import re
import signal
import subprocess
import time
from html import unescape
from pathlib import Path

import pytest

from .conftest import Project

pytestmark = pytest.mark.xdist_group("interruptions")

RESULTS = ("accuracy.csv", "fig5.csv", "table1.csv", "table1.md", "fig5.png")


def start_and_kill(project: Project, rule: str, whole_run: bool) -> None:
    """Start a run; as soon as a job of `rule` logs something, SIGKILL that job, or the whole run."""
    process = subprocess.Popen(
        project.command(),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    logs = project.folder / "results/logs" / rule
    try:
        deadline = time.monotonic() + 240
        while not any(path.stat().st_size for path in logs.rglob("*.log")):
            assert process.poll() is None, f"the run ended before {rule} began"
            assert time.monotonic() < deadline, f"{rule} did not begin"
            time.sleep(0.02)
        if whole_run:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
        else:
            pattern = f"scripts/{rule}.py"
            for job in jobs_of(process.pid, pattern):
                os.kill(job, signal.SIGKILL)
            assert process.wait(120) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def jobs_of(session: int, pattern: str) -> list[int]:
    """Processes of a session whose program is the given script."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                if os.getsid(int(folder.name)) == session and pattern in words:
                    found.append(int(folder.name))
            except (OSError, UnicodeDecodeError):
                continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to find the jobs")
def test_killed_runs_complete_with_the_same_bytes(finished: Project, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "killed")
    start_and_kill(project, "train_model", whole_run=False)
    assert not list((project.folder / "results").rglob("accuracy.csv"))
    start_and_kill(project, "make_attack_set", whole_run=True)
    start_and_kill(project, "search_span", whole_run=True)
    # As a reviewer types it, on a machine that may have fewer cores and no GPU; the number of jobs changes no byte.
    project.run(cores=8, gpus=4)
    assert project.would_run() == {}
    for name in RESULTS:
        ours, theirs = (one.folder / "results" / name for one in (project, finished))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_second_run_in_the_same_folder_is_refused(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    (project.folder / ".snakemake/locks").mkdir(exist_ok=True)
    (project.folder / "results/accuracy.csv").unlink()
    (project.folder / ".snakemake/locks/0.output.lock").write_text("results/accuracy.csv\n")
    refused = project.run(check=False)
    assert refused.returncode != 0
    assert "lock" in refused.stdout + refused.stderr


EVERYTHING = {
    "attacks": {
        "methods": {"fgsm": {}, "cw": {"binary_search_steps": 1, "steps": 2}, "pgd_pr": {"steps": 1}},
        "epsilons": [0.08],
        "white_box": {"pool": "Targeted", "ablated": "pgd_pr", "neighbors": 5},
    },
    "features": {"layers": ["conv_4_1", "conv_3_1", "conv_4_1-RMAC"], "ablation_pools": ["Targeted"]},
    "defenses": {"crop_ensemble": {"crops": 2}, "tv_minimization": {}, "image_quilting": {}},
    "patches": {"images": "web", "count": 20},
}


@pytest.fixture(scope="module")
def everything(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished experiment with all tables and figures."""
    project = finished.copy(tmp_path_factory.mktemp("everything") / "project")
    project.run("all", changes=EVERYTHING)
    return project


def test_all_tables_and_figures_are_made(everything: Project) -> None:
    project = everything
    results = project.folder / "results"
    assert {path.stem for path in results.glob("*.pdf")} == {
        "attacks",
        "poisoning",
        "training",
        *(f"fig{number}" for number in range(1, 13)),
    }
    for name in ("table1", "table2", "table3", "table4", "claims"):
        assert len((results / f"{name}.csv").read_text().splitlines()) > 3, name
    table2 = (results / "table2.md").read_text()
    assert all(f"| {name}" in table2 for name in ("Crop ensemble", "TV minimisation", "Image quilting"))
    assert "conv_4_1-RMAC" in (results / "table4.md").read_text()
    assert "every size is the paper's" in (results / "table3.md").read_text()
    claims = (results / "claims.csv").read_text()
    assert all(verdict in claims for verdict in ("inconclusive", "not tested"))
    assert "white_box-Targeted-120" in (results / "fig6.csv").read_text()


def test_report_shows_every_figure_and_table_with_its_caption(everything: Project) -> None:
    results = everything.folder / "results"
    everything.run("all", "--report=results/report.html", changes=EVERYTHING)
    page = (results / "report.html").read_text()
    (listed,) = re.findall(r"var results = (\{.*\});", page)
    shown = json.loads(listed)
    figures = [f"fig{number}.{kind}" for number in range(1, 13) for kind in ("png", "csv")]
    figures += [f"{name}.{kind}" for name in ("attacks", "poisoning", "training") for kind in ("png", "csv")]
    tables = [
        f"{name}.{kind}" for name in ("table1", "table2", "table3", "table4", "claims") for kind in ("html", "csv")
    ]
    assert set(shown) == {f"results/{name}" for name in (*figures, *tables)}
    assert "system-message" not in page
    claims = list(csv.DictReader((results / "claims.csv").read_text().splitlines()))
    overview = unescape((results / "overview.html").read_text())
    for path, about in shown.items():
        content = base64.b64decode(about["data_uri"].partition("base64,")[2])
        assert content == (everything.folder / path).read_bytes()
        name = Path(path).stem
        words = unescape(re.sub(r"<[^>]+>", "", about["caption"]))
        assert "This run's data and the paper's" in words
        assert "40 test images of shapes" in words
        for claim in claims:
            if claim["id"].partition(".")[0].rstrip("abc") == name.replace("fig", "F").replace("table", "T"):
                assert claim["claim"] in words
                assert claim["verdict"] == "not tested" or f"n = {claim['n']}" in words
                assert claim["claim"] in overview
    assert overview.count('src="data:image/png;base64,') == 15
    assert everything.would_run("all", changes=EVERYTHING) == {}
