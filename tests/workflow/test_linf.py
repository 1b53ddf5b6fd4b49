"""Networks compared under l-infinity attacks: what is made agrees with independent lines, and what reruns."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from .conftest import Project
from .test_agreement import classifier

pytestmark = pytest.mark.xdist_group("workflow")

LINF = {"networks": ["small", "other"], "epsilons": [0.02, 0.1], "steps": 3, "keep": False}
TARGETS = ("results/table1_racnn.md", "results/fig_racnn.pdf")
SETS = [(attack, epsilon) for attack in ("fgsm", "ifgsm") for epsilon in ("0.02", "0.1")]


@pytest.fixture(scope="module")
def compared(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("linf"))
    project.run(*TARGETS, "--notemp", changes={"linf": LINF})
    return project


def read_set(project: Project, network: str, attack: str, epsilon: str) -> dict[str, np.ndarray]:
    return dict(np.load(project.folder / f"results/linf/{network}/{attack}/eps-{epsilon}.npz"))


def accuracies(project: Project, network: str) -> dict[str, dict]:
    text = (project.folder / f"results/linf/{network}/accuracy.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return {f"{row['setting']}/{row['attack']}/{float(row['epsilon']):g}": row for row in rows}


@pytest.mark.parametrize("network", LINF["networks"])
def test_rows_agree_with_predictions_to_the_image(compared: Project, network: str) -> None:
    """White box on the network's own images, transfer on the baseline's; classes by the network from its file."""
    model, found = classifier(compared, network), accuracies(compared, network)
    stored = np.load(compared.folder / f"results/linf/{network}/predictions.npz")
    clean = np.load(compared.folder / "results/attacks/clean.npz")
    np.testing.assert_array_equal(stored["rows"], clean["rows"])
    assert len(found) == 1 + 2 * len(SETS)
    for setting, source in (("white_box", network), ("transfer", "small")):
        for attack, epsilon in SETS:
            images = torch.from_numpy(read_set(compared, source, attack, epsilon)["images"])
            with torch.no_grad():
                classes = model(images).argmax(1).numpy()
            np.testing.assert_array_equal(stored[f"{setting}/{attack}/{epsilon}"], classes)
            row = found[f"{setting}/{attack}/{epsilon}"]
            assert float(row["accuracy"]) == pytest.approx((classes == clean["labels"]).mean(), abs=1e-6)
            assert row["model"] == network
            assert row["n"] == str(len(classes))
            assert float(row["ci_low"]) <= float(row["accuracy"]) <= float(row["ci_high"])
            assert float(row["delta_max"]) == pytest.approx(float(epsilon), abs=2e-6)


@pytest.mark.parametrize(("attack", "steps"), [("fgsm", 1), ("ifgsm", 3)])
def test_adversarial_images_agree_with_a_few_lines(compared: Project, attack: str, steps: int) -> None:
    model, epsilon = classifier(compared, "other"), 0.1
    clean = np.load(compared.folder / "results/attacks/clean.npz")
    images, labels = torch.from_numpy(clean["images"]), torch.from_numpy(clean["labels"])
    current = images
    for _ in range(steps):
        current = current.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(current), labels, reduction="sum")
        current = (current + epsilon / steps * torch.autograd.grad(loss, current)[0].sign()).clamp(0, 1)
    stored = read_set(compared, "other", attack, "0.1")
    # Gradients near 0 may have another sign where convolutions round otherwise.
    assert (np.abs(stored["images"] - current.detach().numpy()) < 1e-5).mean() > 0.99
    assert np.abs(stored["images"] - clean["images"]).max() <= epsilon + 1e-6
    with torch.no_grad():
        predicted = model(current).argmax(1).numpy()
    written = np.load(compared.folder / "results/linf/other/predictions.npz")[f"white_box/{attack}/0.1"]
    np.testing.assert_array_equal(written, predicted)


def test_the_baseline_is_its_own_source(compared: Project) -> None:
    found = accuracies(compared, "small")
    for attack, epsilon in SETS:
        own, transfer = (found[f"{setting}/{attack}/{epsilon}"] for setting in ("white_box", "transfer"))
        assert own["accuracy"] == transfer["accuracy"]


def test_table_claims_and_figure_are_written(compared: Project) -> None:
    results = compared.folder / "results"
    table = (results / "table1_racnn.md").read_text()
    for part in ("White box, FGSM", "White box, I-FGSM", "Transfer, FGSM", "Transfer, I-FGSM", "Claims of the paper"):
        assert f"## {part}\n" in table
    assert "| Baseline (small) |" in table
    assert "| *RA-CNN, N = 10* | *0.9191* |" in table
    assert len((results / "table1_racnn.csv").read_text().splitlines()) == 1 + 2 * (1 + 2 * len(SETS))
    assert "R1.retrieval_more_robust" in (results / "claims_racnn.csv").read_text()
    assert (results / "table1_racnn.tex").read_text().count("\\multicolumn") == 2 + 3
    assert (results / "fig_racnn.png").stat().st_size > 10000


def test_what_reruns(compared: Project) -> None:
    report = {"make_table1_racnn": 1, "plot_fig_racnn": 1}
    assert compared.would_run(*TARGETS, changes={"linf": LINF}) == {}
    more_steps = {"linf": LINF | {"steps": 4}}
    assert compared.would_run(*TARGETS, changes=more_steps) == {"make_linf_set": 2, "evaluate_linf": 2, **report}
    fewer = {"linf": LINF | {"epsilons": [0.02]}}
    assert compared.would_run(*TARGETS, changes=fewer) == {"make_linf_set": 4, "evaluate_linf": 2, **report}


def test_attacked_images_can_be_deleted_once_classified(compared: Project, tmp_path: Path) -> None:
    project = compared.copy(tmp_path / "project")
    sets = list((project.folder / "results/linf").rglob("eps-*.npz"))
    assert len(sets) == 2 * len(SETS)
    project.run(*TARGETS, "--delete-temp-output", changes={"linf": LINF})
    assert not any(path.exists() for path in sets)
    assert project.would_run(*TARGETS, changes={"linf": LINF}) == {}


def test_without_the_section_nothing_is_offered(finished: Project) -> None:
    done = finished.run("-n", "results/table1_racnn.md", check=False)
    assert done.returncode != 0
    assert "No rule to produce results/table1_racnn.md" in done.stdout + done.stderr
