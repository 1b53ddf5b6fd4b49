"""The deployed defence agrees with the workflow on every query, and people and other libraries can use it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import nndefense

from .conftest import Project, by_script

pytestmark = pytest.mark.xdist_group("workflow")

CELL = "Targeted/120/10/CBW-D/soft"
QUERIES = ("clean", "raw01/gray_box/pgd/eps-0.08", "raw01/black_box/pgd/eps-0.04")


@pytest.fixture(scope="module")
def deployed(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("deployed") / "project")
    assert project.would_run("results/knn.json") == {"describe_defense": 1}
    project.run("results/knn.json")
    return project


@pytest.mark.parametrize("name", QUERIES)
def test_object_and_workflow_agree_on_every_query(deployed: Project, name: str) -> None:
    results = deployed.folder / "results"
    network = nndefense.load(results)
    stored, member = np.load(results / f"attacks/{name}.npz"), name.rpartition("eps-")[2]
    images = torch.from_numpy(stored[f"{member}/images"])
    answers = np.load(results / f"predictions/small/conv_4_1/{name}.npz")[f"{member}@{CELL}"]
    merged = np.load(results / f"neighbors/small/conv_4_1/Targeted/merged/{name}.npz")
    with torch.no_grad():
        logits = network(images)
    np.testing.assert_array_equal(logits.argmax(1).numpy(), answers)
    assert logits.shape == (40, 10)
    found = network.neighbors(images)
    np.testing.assert_array_equal(found.ids, merged["ids"][0, 1, :, :10])
    # Convolutions round differently in batches of another size.
    np.testing.assert_allclose(found.distances, merged["distances"][0, 1, :, :10], rtol=1e-5)


def test_predict_names_class_and_neighbours(deployed: Project, tmp_path) -> None:
    stored = np.load(deployed.folder / "results/attacks/clean.npz")
    folder = tmp_path / "söme images"
    folder.mkdir()
    for place in range(5):
        pixels = (stored["clean/images"][place].transpose(1, 2, 0) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{place} ö.png")
    command = [sys.executable, "-m", "nndefense.cli", "predict", str(folder), "--neighbors", "5"]
    output, sheet = tmp_path / "out.json", tmp_path / "sheet.png"
    done = subprocess.run(
        [*command, "--output", str(output), "--sheet", str(sheet)],
        cwd=deployed.folder, env=deployed.environment() | {"PYTHONPATH": "scripts"}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0 ö.png" in done.stdout
    assert sheet.stat().st_size > 10000
    said = json.loads(output.read_text())["images"]
    answers = np.load(deployed.folder / "results/predictions/small/conv_4_1/clean.npz")[f"clean@{CELL}"]
    classes = json.loads((deployed.folder / "results/images/test/set.json").read_text())["class_names"]
    assert len(said) == 5
    # Rounding to 8 bits may move an image that is close to a border.
    assert sum(one["class"] == classes[answers[place]] for place, one in enumerate(said)) >= 4
    assert all(len(one["neighbors"]) == 5 for one in said)


def test_every_defense_can_be_described_without_an_attack(tmp_path) -> None:
    project = Project.create(tmp_path / "project")
    systems = ("results/systems/knn.json", "results/systems/crop_ensemble.json")
    planned = by_script(project.would_run(*systems, changes={"defenses": {"crop_ensemble": {}}}))
    assert (planned["describe_system"], planned["describe_defense"]) == (2, 1)
    assert not {"make_attack_set", "evaluate_defense", "vote"} & set(planned)
    # The bare network answers itself.
    assert set(project.would_run("results/systems/none.json")) == {
        "list_images", "make_clean_set", "train_model", "describe_system",
    }  # fmt: skip
