"""Planned numbers of jobs against those that Snakemake finds."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nndefense.commands.plan import SHIPPED, report_jobs
from nndefense.config import load_config
from nndefense.flow.estimate import Facts
from nndefense.flow.plan import make_plan
from nndefense.flow.rates import read_rates

from .conftest import TINY, Project, by_script

pytestmark = pytest.mark.xdist_group("workflow")

ROOT = Path(__file__).resolve().parents[2]
# Rules that run a script of another name.
RUN = {"make_validation_set": "make_clean_set", "collect_summary": "collect_rows"}
SPANS = {
    "sizes": [[60, 120], [200]],
    "shard_rows": 50,
    "index": {"rows_per_job": 70},
    "features": {"layers": ["conv_4_1", "conv_3_1", ["conv_4_1-RMAC"]], "keep": False, "pca_samples": 80},
}
APPROXIMATE = {**SPANS, "index": {"rows_per_job": 70, "factory": "IVF2,Flat", "probes": 1}}
# Attackers have shards of their own, a second pass is asked for in one pool only.
ATTACKERS = {
    "sizes": [[30, 60], 120],
    "shard_rows": 40,
    "features": {"layers": ["conv_4_1", "conv_3_1"], "keep": False, "ablation_pools": ["All"]},
    "attacks": {
        "methods": {"pgd": {"steps": 1}, "cw": {"steps": 1}, "pgd_fs": {"steps": 1}},
        "together": [["pgd", "cw"]],
        "white_box": {"pool": "Targeted", "sizes": [60], "overlaps": [0, 0.5], "neighbors": 5},
        "adaptive": {
            "methods": {"transfer": {"steps": 2}, "soft_retrieval": {"steps": 2}},
            "epsilons": [0.08],
            "knowledge": ["features"],
        },
    },
    "defenses": {"crop_ensemble": {"crops": 2}, "image_quilting": {}},
    "patches": {"images": "web", "count": 20},
}
# The base layer is of the second pass, and the first one is asked for in another pool only, but for softmax rows.
SECOND = {**ATTACKERS, "features": {"layers": ["conv_3_1", "conv_4_1"], "ablation_pools": ["All"]}}


def scripts_of(jobs: dict[str, int]) -> dict[str, int]:
    """Jobs of a dry run by the script that they run."""
    found: dict[str, int] = {}
    for rule, count in by_script(jobs).items():
        name = RUN.get(rule, rule)
        if rule.startswith("plot_"):
            name = "plot_figure"
        elif rule.startswith("make_") and not (ROOT / f"scripts/{name}.py").exists():
            name = "make_table"
        elif rule.startswith("extract_codes"):
            name = "extract_features"
        found[name] = found.get(name, 0) + count
    return found


def planned(raw: dict[str, Any]) -> dict[str, int]:
    """Jobs that a plan counts, by script; nothing is known but the configuration."""
    config = load_config(raw)
    facts, rates = Facts({}, {}, {}), read_rates(SHIPPED)
    found = make_plan(config, facts, rates, cores=1, gpus=0, more=report_jobs(config))
    return {one.script: one.jobs for one in found.stages}


def merged(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with the keys that are named changed, as Snakemake merges configurations."""
    made = copy.deepcopy(raw)
    for key, value in changes.items():
        inner = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = merged(made[key], value) if inner else value
    return made


# As attackers and approximate indexes see it, too.
LEFT_OUT = {**ATTACKERS, "index": APPROXIMATE["index"], "queries": {"leave_out": "near"}}
CASES = {"left_out": LEFT_OUT, "tiny": {}, "spans": SPANS, "ivf": APPROXIMATE, "attackers": ATTACKERS, "second": SECOND}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_planned_jobs_are_those_of_a_dry_run(tmp_path: Path, changes: dict) -> None:
    project = Project.create(tmp_path / "project")
    assert planned(merged(TINY, changes)) == scripts_of(project.would_run("all", changes=changes))


def test_planned_jobs_of_the_default_experiment(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    snakemake = [sys.executable, "-m", "snakemake", "all", "-n", "--cores", "1", "--resources", "gpu=0"]
    project.command = lambda *arguments, **options: snakemake
    found = scripts_of(project.would_run())
    assert found == planned(yaml.safe_load((ROOT / "config.yaml").read_text()))
    assert found["search_span"] > 20
