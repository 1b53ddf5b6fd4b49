"""Retrieval with certificates on a running workflow, by the networks of the tiny experiment."""

import csv
import json
import time

import numpy as np
import pytest
from PIL import Image

from nndefense.core.arrays import read_arrays
from nndefense.evaluation.certified import COLUMNS
from nndefense.evaluation.rows import AXES

from .conftest import Project

pytestmark = pytest.mark.xdist_group("workflow")

RETRIEVAL = {
    "tasks": {"near": {"gallery": "train", "gallery_count": 12, "queries": "test", "queries_count": 10}},
    "embeddings": {
        "lda": {"model": "small", "fit_count": 200, "sigmas": [0.02]},
        "prototypes": {
            "model": "small",
            "output": "softmax",
            "transform": "none",
            "gallery": "prototypes",
            "sigmas": [0.02],
        },
    },
    "draws": 110,
    "first_draws": 20,
    "gallery_draws": 10,
    "certificates": ["cdf", "vote"],
    "radii": [0.0, 0.01, 0.03],
    "attack": {"count": 4, "steps": 2, "draws": 2, "radii": [0.03, 0.5], "fresh": 100},
}
ROOT = "results/retrievalguard"
GUARDS = [f"{ROOT}/near/{name}/sigma-0.02" for name in RETRIEVAL["embeddings"]]
SYSTEM = f"{GUARDS[1]}/system.json"
TARGETS = (f"{ROOT}/table.md", f"{ROOT}/fig.pdf", SYSTEM)
CHECKED = tuple(f"{guard}/checked.npz" for guard in GUARDS)
REPORT = {"make_retrievalguard_table": 1, "plot_retrievalguard_fig": 1}


def changed(**changes):
    """The section, with some keys changed, as a configuration on top of the tiny one."""
    return {"retrieval": {**RETRIEVAL, **changes}}


@pytest.fixture(scope="module")
def guarded(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("guarded") / "project")
    # The networks are there.
    assert project.would_run(*TARGETS, *CHECKED, changes=changed()) == {
        "draw_task": 1,
        "fit_embedding": 1,
        "smooth_gallery": 2,
        "draw_queries": 2,
        "certify_queries": 4,
        "attack_retrieval": 2,
        "check_certificates": 2,
        "measure_retrieval": 2,
        "describe_retrieval": 1,
        **REPORT,
    }
    project.run(*TARGETS, *CHECKED, changes=changed())
    return project


def rows_of(project, guard):
    with open(project.folder / guard / "rows.csv", newline="") as handle:
        return list(csv.DictReader(handle))


# -- what is made


def test_everything_is_made_once(guarded):
    assert guarded.would_run(*TARGETS, *CHECKED, changes=changed()) == {}
    results = guarded.folder / ROOT
    assert (results / "fig.pdf").read_bytes().startswith(b"%PDF")
    table = (results / "table.md").read_text()
    for words in (
        "near, lda, 12 vectors",
        "near, prototypes, ",
        "CDF",
        "vote of the copies",
        "under attack",
        "n = 4",
        "[0.",
    ):
        assert words in table


@pytest.mark.parametrize("guard", GUARDS)
def test_rows_are_of_all_queries_and_fall_with_the_radius(guarded, guard):
    rows = rows_of(guarded, guard)
    assert {*AXES, *COLUMNS} <= set(rows[0])
    of_setting = {name: [row for row in rows if row["setting"] == name] for name in ("clean", "certified", "white_box")}
    assert sum(map(len, of_setting.values())) == len(rows)
    assert [row["defense"] for row in of_setting["clean"]] == ["retrieval", "smoothed", "smoothed_vote"]
    for certificate in RETRIEVAL["certificates"]:
        own = [row for row in of_setting["certified"] if row["attack"] == certificate]
        assert [(float(row["epsilon"]), row["n"]) for row in own] == [(0.0, "10"), (0.01, "10"), (0.03, "10")]
        shares = [float(row["accuracy"]) for row in own]
        assert shares == sorted(shares, reverse=True)
        stored = read_arrays(guarded.folder / guard / f"{certificate}.npz")
        right = stored["classes"] == stored["labels"]
        assert shares == [(right & (stored["radius"] >= radius)).mean() for radius in RETRIEVAL["radii"]]
    assert {(row["attack"], row["n"]) for row in of_setting["white_box"]} == {("metric", "4")}
    assert {float(row["epsilon"]) for row in of_setting["white_box"]} == {0.0, 0.03, 0.5}


def test_certified_answers_stand_and_some_were_tried(guarded):
    for path in CHECKED:
        stored = read_arrays(guarded.folder / path)
        np.testing.assert_array_equal(stored["answered"], stored["certified"])
        assert len(stored["answered"]) > 3
        assert (stored["distance"] <= stored["radius"]).all()


def test_a_described_retrieval_certifies_other_images(guarded, capsys, monkeypatch):
    from nndefense.cli import main

    monkeypatch.chdir(guarded.folder)
    task = read_arrays(f"{ROOT}/tasks/near.npz", "queries/images", "queries/labels")
    Image.fromarray(task["queries/images"][0]).save("query.png")
    assert main(["certify", "query.png", "--draws", "50", "--output", "answers.json"]) == 0
    assert "near/prototypes/sigma-0.02: " in capsys.readouterr().out
    said = json.loads((guarded.folder / "answers.json").read_text())
    assert [one["decision"] for one in said["answers"]] == ["mean", "vote"]
    assert said["fresh"]


# -- what a change reruns


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"certificates": ["cdf", "vote", "linear"]}, {"certify_queries": 2, "describe_retrieval": 1}),
        ({"alpha": 0.01}, {"certify_queries": 4, "describe_retrieval": 1}),
        ({"radii": [0.0, 0.02]}, {}),
    ],
)
def test_another_certificate_alpha_or_radius_costs_no_forward_pass(guarded, changes, expected):
    assert guarded.would_run(*TARGETS, changes=changed(**changes)) == {**expected, "measure_retrieval": 2, **REPORT}


def test_a_new_sigma_reruns_its_own_jobs(guarded):
    one = RETRIEVAL["embeddings"]
    changes = changed(embeddings={**one, "lda": {**one["lda"], "sigmas": [0.02, 0.05]}})
    checked = f"{ROOT}/near/lda/sigma-0.05/checked.npz"
    assert guarded.would_run(*TARGETS, *CHECKED, checked, changes=changes) == {
        "fit_embedding": 1,
        "smooth_gallery": 1,
        "draw_queries": 1,
        "certify_queries": 2,
        "attack_retrieval": 1,
        "check_certificates": 1,
        "measure_retrieval": 1,
        **REPORT,
    }


def test_a_comment_reruns_nothing_and_an_attack_only_itself(guarded):
    library = guarded.folder / "scripts/nndefense"
    time.sleep(1.1)  # file systems and Snakemake may round times to seconds
    for name in ("models/smoothing.py", "certificates/cdf.py", "evaluation/guarded.py", "config/retrieval.py"):
        path = library / name
        path.write_text(path.read_text().replace('"""', '"""Told otherwise. ', 1) + "\n\n# a comment\n")
    assert guarded.would_run(*TARGETS, *CHECKED, changes=changed()) == {}
    attack = library / "attacks/metric.py"
    before = attack.read_text()
    attack.write_text(before + "UNUSED = 1\n")
    found = guarded.would_run(*TARGETS, *CHECKED, changes=changed())
    attack.write_text(before)
    assert found == {"attack_retrieval": 2, "check_certificates": 2, "measure_retrieval": 2, **REPORT}
