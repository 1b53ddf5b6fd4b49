"""Attacks through the defences and the worst case, on a running workflow."""

import csv
import json
import re

import numpy as np
import pytest
import torch

from nndefense.attacks import ATTACKS
from nndefense.attacks.problem import make_problem
from nndefense.attacks.region import region_of
from nndefense.axes.ball import RAW
from nndefense.core.arrays import read_arrays
from nndefense.core.registry import make
from nndefense.evaluation.context import read_drawn
from nndefense.evaluation.readers import read_climbs
from nndefense.evaluation.worst import BREAKS, WORST_CASE

pytestmark = pytest.mark.xdist_group("worst")

METHODS = {
    "noise": {"tries": 1},
    "transfer": {"steps": 3},
    "soft_retrieval": {"steps": 6, "temperatures": [1.0]},
    "feature_matching": {"steps": 4},
}
ADAPTIVE = {
    "methods": METHODS,
    "epsilons": [[0.04, 0.08]],
    "count": 30,
    "limits": {"feature_matching": 10},
    "knowledge": ["nothing"],
}
WHITE_BOX = {"pool": "Targeted", "overlaps": [0], "neighbors": 5}
CHANGES = {
    "attacks": {
        "methods": {"pgd": {"steps": 2}, "pgd_fs": {"steps": 1}},
        "epsilons": [[0.04, 0.08]],
        "adaptive": ADAPTIVE,
        "white_box": WHITE_BOX,
    },
    "defenses": {"crop_ensemble": {"crops": 2, "attacked_crops": 1}},
}
TARGETS = (
    "results/worst_case.md",
    "results/card.md",
    "results/fig_adaptive.pdf",
    "results/table1.md",
    "results/table2.md",
    "results/accuracy.csv",
    "results/systems/knn.json",
    "results/systems/crop_ensemble.json",
)
PACK = "eps-0.04,0.08"


@pytest.fixture(scope="module")
def worst(finished, tmp_path_factory):
    project = finished.copy(tmp_path_factory.mktemp("worst") / "project")
    project.run(*TARGETS, changes=CHANGES)
    return project


def rows_of(project, name):
    with open(project.folder / "results" / name, newline="") as handle:
        return list(csv.DictReader(handle))


def test_everything_is_made_once(worst):
    assert worst.would_run(*TARGETS, changes=CHANGES) == {}


def test_search_and_workflow_agree_on_every_image(worst):
    """The search asks the object, the rows come from neighbour lists and votes."""
    found = read_arrays(worst.folder / f"results/attacks/raw01/adaptive-knn/worst/{PACK}.npz")
    answers = read_arrays(worst.folder / f"results/predictions/small/conv_4_1/raw01/adaptive-knn/worst/{PACK}.npz")
    for budget in ("0.04", "0.08"):
        right = answers[f"{budget}@Targeted/120/10/CBW-D/soft"] == answers["labels"]
        np.testing.assert_array_equal(right, found[f"{budget}/broken_by"] == "")
        assert (found[f"{budget}/delta_raw01"] <= float(budget) * (1 + 1e-5)).all()


def test_climbs_on_networks_are_made_once_and_fit_every_job_that_wants_them(worst):
    stored = worst.folder / f"results/attacks/raw01/climbs/transfer/{PACK}.npz"
    options = {"steps": 3, "restarts": 1, "chosen": 3, "schedule": "momentum", "direction": "l2"}
    climbs = read_climbs([stored], {"attack": "transfer", "options": options}, None)["climbs"]
    clean = read_drawn(worst.folder / "results/attacks/clean.npz", 30, seed=1)
    images, labels, rows = (torch.from_numpy(clean[name][20:]) for name in ("images", "labels", "rows"))
    for epsilon in (0.04, 0.08):
        region = region_of(RAW, None, images, epsilon)
        problem = make_problem(torch.nn.Identity(), images, labels, region=region, rows=rows, seed=1, context={})
        ends, moved = climbs.of(make("attack", ATTACKS, "transfer", {"steps": 3}), problem)
        # On each of the two networks, and on both.
        assert len(ends) == 3
        assert moved.all()
        for end in ends:
            assert (region.spent(end) < 1.001).all()
            assert (region.spent(end) > 0.5).all()
    assert len(list((worst.folder / "results/logs/climb_networks").rglob("*.log"))) == 1


def test_the_worst_case_is_below_every_column_and_falls_with_the_budget(worst):
    rows = [row for path in ("none", "conv_4_1", "crop_ensemble")
            for row in rows_of(worst, f"accuracy_worst/small/{path}.csv")]  # fmt: skip
    assert set(WORST_CASE.columns) <= set(rows[0])
    assert {row["n"] for row in rows} == {"30"}
    for row in rows:
        assert float(row["accuracy"]) <= min(float(row[name]) for name in ("clean", "transfer", "strongest_accuracy"))
    systems = {tuple(row[name] for name in ("defense", "pool", "size", "weighting", "combination")) for row in rows}
    for system in systems:
        small, large = (
            float(row["accuracy"])
            for row in rows
            if tuple(row[name] for name in ("defense", "pool", "size", "weighting", "combination")) == system
        )
        assert large <= small


def test_each_attack_alone_stands_in_the_table_and_in_the_rows(worst):
    breaks = rows_of(worst, "attack_breaks/small/conv_4_1.csv")
    assert set(BREAKS.columns) <= set(breaks[0])
    assert {row["attack"] for row in breaks if row["setting"] == "adaptive-knn"} == set(METHODS)
    others = {row["setting"] for row in breaks if row["setting"].startswith("adaptive-knn-")}
    assert others == {
        "adaptive-knn-Targeted-120-overlap-0",
        "adaptive-knn-knows-nothing",
        "adaptive-knn-Targeted-120-overlap-0-knows-nothing",
    }
    accuracy = {(row["setting"], row["attack"]) for row in rows_of(worst, "accuracy.csv")}
    assert {("adaptive-knn", name) for name in (*METHODS, "worst")} <= accuracy
    table = (worst.folder / "results/worst_case.md").read_text()
    for words in ("Soft retrieval", "Worst case", "## Δ = 0.04", "Crop ensemble", "No defence", "[0."):
        assert words in table
    assert "Worst case" in (worst.folder / "results/table1.md").read_text()
    assert re.search(r"Worst case.*through the defence", (worst.folder / "results/table2.md").read_text(), re.DOTALL)


def test_the_card_tells_what_is_known_and_how_to_reproduce_it(worst):
    card = (worst.folder / "results/card.md").read_text()
    for words in ("## No defence", "The attacker knew", "n = 30 images", "nndefense rescore results/attacks/raw01/"):
        assert words in card


def test_the_report_of_a_search_adds_up(worst):
    report = json.loads((worst.folder / f"results/attacks/raw01/adaptive-knn/worst/{PACK}.json").read_text())
    assert report["images"] == 30
    for share in report["shares"]:
        assert 0 <= share["holds"] <= share["settled"] <= 1
    for stage in report["stages"]:
        assert 0 <= stage["broke"] <= stage["tried"] <= 30


@pytest.mark.parametrize("defense", ["knn", "crop_ensemble"])
def test_stored_images_score_again_to_the_same_rows(worst, defense, capsys, monkeypatch):
    from nndefense.cli import main

    monkeypatch.chdir(worst.folder)
    path = f"results/attacks/raw01/adaptive-{defense}/worst/{PACK}.npz"
    assert main(["rescore", path, "--output", "scored.csv"]) == 0
    capsys.readouterr()
    with open(worst.folder / "scored.csv", newline="") as handle:
        scored = list(csv.DictReader(handle))
    assert len(scored) == 2
    rows = rows_of(worst, "accuracy.csv")
    assert all(row in rows for row in scored)


def test_an_attack_more_reruns_its_own_set_and_the_searches(worst):
    """Images of other attacks alone stay as they are."""
    methods = {**METHODS, "pgd": {"steps": 2}}
    changes = {**CHANGES, "attacks": {**CHANGES["attacks"], "adaptive": {**ADAPTIVE, "methods": methods}}}
    found = worst.would_run("results/worst_case.md", changes=changes)
    assert found["make_attack_set"] == 1
    assert found["attack_defense"] == 3
    assert "extract_features" not in found
