"""Purification by dictionaries on a running workflow, by the networks of the tiny experiment."""

import copy
import json
import time

import numpy as np
import pytest

from nndefense.core.arrays import read_arrays
from nndefense.defenses.batches import answers_in_batches
from nndefense.dictionaries.stored_clusters import read_clusters
from nndefense.evaluation.accuracy import ACCURACY
from nndefense.evaluation.rows import measured_rows, read_rows
from nndefense.evaluation.systems import bind_system, find_system, read_system

from .conftest import RECIPE, Project, by_script

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.slow]

SRD = {"kind": "srd", "iterations": 20, "unrolled": 3}
BY_DICTIONARIES = ("srd_oracle", "srd", "srd_robust")
ROBUST = {"method": "clustered", "initial": "small", "attack_steps": 1, "batch": 60}
CHANGES = {
    "models": {"robust": {"architecture": "cifar_resnet8", "train": {**RECIPE, **ROBUST}}},
    "attacks": {
        "adaptive": {
            "methods": {"soft_retrieval": {"steps": 2}},
            "epsilons": [0.08],
            "count": 12,
            "defenses": ["none"],
            "full": [],
        }
    },
    "validation": {"images": "test", "count": 20},
    "defenses": {
        "low_pass": {"tune": {"weight": [0.1, 0.5]}},
        "srd": {**SRD, "tune": {"sparsity": [0.02, 0.1]}},
        "srd_robust": {**SRD, "chooser": "robust", "tuned_as": "srd"},
        "srd_oracle": {**SRD, "choice": "oracle", "tuned_as": "srd"},
    },
    "dictionaries": {
        "images": "train",
        "clusters": {"most": 2, "smallest": 5, "components": 4, "least_silhouette": -1.0},
        "learning": {"filters": 2, "size": 3, "steps": 2, "batch": 8, "jobs": 2},
        "table": ["low_pass", *BY_DICTIONARIES],
        "epsilons": [0.08],
        "attacks": {"bpda": {"steps": 2}, "unrolled": {"steps": 2}},
    },
}
PICTURES = {"plot_srd_clusters": 1, "plot_srd_dictionaries": 1}
COMPARED = {"make_srd_table": 1, "plot_srd_fig": 1}
# Sets attacked through each of the three defences by dictionaries, and answers to these and to two others.
OF_DICTIONARIES = {"make_attack_set": 6, "evaluate_defense": 12, "purify_images": 1, **COMPARED}
BPDA = "raw01/adaptive-srd_robust/bpda/eps-0.08"
ANSWERS = f"results/predictions/small/srd_robust/{BPDA}.npz"
PIECES = tuple(f"results/srd/{name}" for name in ("table.md", "fig.pdf", "clusters.pdf", "dictionaries.pdf"))
TARGETS = (*PIECES, ANSWERS, "results/systems/srd_robust.json")


def changed(path: str, value: object) -> dict:
    """The configuration on top of the tiny one, with another value at a path."""
    found = copy.deepcopy(CHANGES)
    part = found
    *keys, last = path.split(".")
    for key in keys:
        part = part.setdefault(key, {})
    part[last] = value
    return found


@pytest.fixture(scope="module")
def purified(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("purified") / "project")
    project.run(*TARGETS, changes=CHANGES)
    return project


def stored(project, name, *arrays):
    return read_arrays(project.folder / "results" / f"{name}.npz", *arrays)


def predicted(project, defense, pack, member):
    return stored(project, f"predictions/small/{defense}/{pack}", f"{member}@{defense}")[f"{member}@{defense}"]


# -- what is made


def test_everything_is_made_once(purified):
    assert purified.would_run(*TARGETS, changes=CHANGES) == {}
    for name in ("fig", "clusters", "dictionaries"):
        assert (purified.folder / f"results/srd/{name}.pdf").read_bytes().startswith(b"%PDF")
    table = (purified.folder / "results/srd/table.md").read_text()
    for words in ("## Δ = 0.08", "Low-pass", "(srd_robust)", "BPDA", "Unrolled", "n = 12", "sparsity", "[0."):
        assert words in table
    # Nothing of a bare network or of a low-pass filter can be unrolled.
    for defense, attacks in (("none", {"bpda"}), ("low_pass", {"bpda"}), ("srd", {"bpda", "unrolled"})):
        made = {file.name for file in (purified.folder / f"results/attacks/raw01/adaptive-{defense}").iterdir()}
        assert made == attacks


def test_files_fit_each_other(purified):
    clusters, learnt = read_clusters(purified.folder / "results/srd/clusters.npz"), stored(purified, "srd/dictionaries")
    count = len(clusters.classes)
    assert 10 < count <= 20
    assert clusters.rows.tolist() == list(range(300))
    assert learnt["filters"].shape == (count + 1, 2, 3, 3, 3)
    assert learnt["objectives"].shape == (count + 1, 2)
    clean, oracle = stored(purified, "attacks/clean"), stored(purified, "srd/oracle")
    np.testing.assert_array_equal(oracle["rows"], clean["rows"])
    np.testing.assert_array_equal(clusters.classes[oracle["clusters"]], clean["labels"])
    validation = stored(purified, "validation", "rows")["rows"]
    assert len(validation) == 20
    assert not set(validation) & set(clean["rows"])


def test_options_are_chosen_among_those_to_be_tried(purified):
    for name, option, values in (("srd", "sparsity", [0.02, 0.1]), ("low_pass", "weight", [0.1, 0.5])):
        found = json.loads((purified.folder / f"results/tuned/{name}.json").read_text())
        assert (found["option"], found["values"], found["n"]) == (option, values, 20)
        assert found["value"] in values
    assert not (purified.folder / "results/tuned/srd_robust.json").exists()


@pytest.mark.parametrize("defense", ["none", "low_pass", *BY_DICTIONARIES])
def test_images_attacked_through_a_defence_stay_within_the_budget(purified, defense):
    clean = stored(purified, "attacks/clean", "rows")["rows"].tolist()
    for attack in ("bpda", "unrolled") if defense in BY_DICTIONARIES else ("bpda",):
        found = stored(purified, f"attacks/raw01/adaptive-{defense}/{attack}/eps-0.08")
        assert len(found["rows"]) == 12
        assert set(found["rows"]) <= set(clean)
        assert (found["0.08/delta_raw01"] <= 0.08 * (1 + 1e-5)).all()
        assert len(predicted(purified, defense, f"raw01/adaptive-{defense}/{attack}/eps-0.08", "0.08")) == 12


def test_what_is_shown_purified_is_what_was_answered(purified):
    shown, rows = stored(purified, "srd/purified"), stored(purified, "attacks/clean", "rows")["rows"].tolist()
    at = [rows.index(row) for row in shown["rows"]]
    for part, pack, member in (("clean", "clean", "clean"), ("attacked", "raw01/gray_box/pgd/eps-0.08", "0.08")):
        np.testing.assert_allclose(shown[f"{part}/low"] + shown[f"{part}/high"], shown[f"{part}/images"], atol=1e-6)
        np.testing.assert_array_equal(shown[f"{part}/defended"], predicted(purified, "srd", pack, member)[at])
        np.testing.assert_array_equal(shown[f"{part}/undefended"], predicted(purified, "none", pack, member)[at])


def test_a_described_defence_answers_as_in_the_workflow(purified):
    """With the option that was chosen for another, and the network that chooses."""
    system = read_system(find_system(purified.folder / "results", "srd_robust"))
    bound = bind_system(system, "cpu")
    chosen = json.loads((purified.folder / "results/tuned/srd.json").read_text())
    assert bound.defense.sparsity == chosen["value"]
    for pack, member in (("clean", "clean"), ("raw01/gray_box/pgd/eps-0.08", "0.08"), (BPDA, "0.08")):
        found = stored(purified, f"attacks/{pack}", f"{member}/images", "rows")
        shares = answers_in_batches(bound, found[f"{member}/images"], found["rows"], seed=system.draws, batch=125)
        np.testing.assert_array_equal(shares.argmax(1), predicted(purified, "srd_robust", pack, member))


def test_stored_images_score_again_to_the_same_rows(purified, capsys, monkeypatch):
    from nndefense.cli import main

    monkeypatch.chdir(purified.folder)
    assert main(["rescore", f"results/attacks/{BPDA}.npz", "--output", "scored.csv"]) == 0
    capsys.readouterr()
    assert read_rows("scored.csv") == measured_rows(ANSWERS, ACCURACY, {"dataset": "shapes", "seed": 1})


# -- what a change reruns


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        # Other values to choose from: no dictionaries, no clusters, and no other purifier.
        ("defenses.srd.tune.sparsity", [0.02, 0.2], {"tune_defense": 1, **OF_DICTIONARIES}),
        # Other dictionaries: no clusters, no network trained by these, no oracle.
        ("dictionaries.learning.steps", 3, {"learn_dictionaries": 3, "gather_dictionaries": 1, "tune_defense": 1,
                                            "plot_srd_dictionaries": 1, **OF_DICTIONARIES}),
        # Other clusters: all of it, but for the latents.
        ("dictionaries.clusters.smallest", 6, {"find_clusters": 1, "find_oracle": 1, "learn_dictionaries": 3,
                                               "gather_dictionaries": 1, "train_model": 1, "tune_defense": 1,
                                               **PICTURES, **OF_DICTIONARIES}),
        # Another network that chooses: what goes through it.
        ("models.robust.train.weight", 0.5, {"train_model": 1, "make_attack_set": 2, "evaluate_defense": 4,
                                             **COMPARED}),
        # More validation images: both choices, and all that depends on them.
        ("validation.count", 30, {"make_validation_set": 1, "tune_defense": 2, **OF_DICTIONARIES,
                                  "make_attack_set": 7, "evaluate_defense": 15}),
    ],
)  # fmt: skip
def test_a_change_reruns_what_depends_on_it(purified, path, value, expected):
    assert by_script(purified.would_run(*PIECES, changes=changed(path, value))) == expected


def test_a_comment_reruns_nothing_and_an_attack_only_itself(purified):
    library = purified.folder / "scripts/nndefense"
    time.sleep(1.1)  # file systems and Snakemake may round times to seconds
    for name in ("dictionaries/learning.py", "defenses/semantic_dictionaries.py", "config/dictionaries.py"):
        path = library / name
        path.write_text(path.read_text().replace('"""', '"""Told otherwise. ', 1) + "\n\n# a comment\n")
    assert purified.would_run(*PIECES, changes=CHANGES) == {}
    attack = library / "attacks/bpda.py"
    before = attack.read_text()
    attack.write_text(before + "UNUSED = 1\n")
    found = by_script(purified.would_run(*PIECES, changes=CHANGES))
    attack.write_text(before)
    assert found == {"make_attack_set": 8, "evaluate_defense": 8, **COMPARED}
