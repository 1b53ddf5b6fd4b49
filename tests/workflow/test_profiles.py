"""What is shipped for machines other than this one, as far as it can be seen here; tests/cluster runs a real Slurm."""

from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, Project

pytestmark = pytest.mark.xdist_group("workflow")


def test_rules_that_clusters_are_not_asked_for_exist(tmp_path: Path) -> None:
    """Snakemake warns of names of `rules/cluster.smk` that no rule has."""
    listed = Project.create(tmp_path).run("all", "-n")
    assert "rule make_table1:" in listed.stdout + listed.stderr
    assert "localrules" not in listed.stdout + listed.stderr


@pytest.mark.parametrize("name", ["default", "slurm", "kubernetes"])
def test_no_profile_caps_the_gpus_of_a_cluster(name: str) -> None:
    profile = yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())
    assert not [limit for limit in profile.get("resources", []) if limit.startswith("gpu")]
