"""Attacks within an l-infinity ball, on the target and on defences: made and evaluated by the rules of all others."""

import numpy as np
import pytest
import torch

from nndefense.evaluation.accuracy import ACCURACY
from nndefense.evaluation.rows import measured_rows

from .conftest import RECIPE, Project, by_script
from .test_agreement import classifier

pytestmark = pytest.mark.xdist_group("workflow")

TRAINED = {"architecture": "cifar_resnet8", "train": RECIPE | {"method": "logit_pairing", "attack_steps": 1}}
LINF = {"methods": {"fgsm": {}, "ifgsm": {"steps": 3}}, "epsilons": [[0.02, 0.1]], "defenses": ["pairing"]}
CHANGES = {
    "models": {"paired": TRAINED},
    "defenses": {"pairing": {"kind": "logit_pairing", "model": "paired", "label": "Paired"}},
    "attacks": {"linf": LINF},
}
TARGETS = ("results/table1_racnn.md", "results/fig_racnn.pdf")
PACK = "eps-0.02,0.1"
SOURCES = {"small": "gray_box", "paired": "gray_box-pairing"}


@pytest.fixture(scope="module")
def compared(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("linf"))
    project.run(*TARGETS, changes=CHANGES)
    return project


def read_set(project: Project, threat: str, attack: str) -> dict[str, np.ndarray]:
    return dict(np.load(project.folder / f"results/attacks/linf/{threat}/{attack}/{PACK}.npz"))


@pytest.mark.parametrize(("attack", "steps"), [("fgsm", 1), ("ifgsm", 3)])
@pytest.mark.parametrize("network", SOURCES)
def test_adversarial_images_agree_with_a_few_lines(compared: Project, network: str, attack: str, steps: int) -> None:
    model, epsilon = classifier(compared, network), 0.1
    clean = np.load(compared.folder / "results/attacks/clean.npz")
    images, labels = torch.from_numpy(clean["clean/images"]), torch.from_numpy(clean["labels"])
    current = images
    for _ in range(steps):
        current = current.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(current), labels, reduction="sum")
        current = (current + epsilon / steps * torch.autograd.grad(loss, current)[0].sign()).clamp(0, 1)
    stored = read_set(compared, SOURCES[network], attack)
    # Gradients near 0 may have another sign where convolutions round otherwise.
    assert (np.abs(stored["0.1/images"] - current.detach().numpy()) < 1e-5).mean() > 0.99
    change = np.abs(stored["0.1/images"] - clean["clean/images"]).reshape(len(labels), -1).max(1)
    assert change.max() <= epsilon + 1e-6
    np.testing.assert_allclose(stored["0.1/delta_linf"], change, rtol=1e-5)


@pytest.mark.parametrize(("system", "network"), [("none", "small"), ("pairing", "paired")])
def test_rows_agree_with_predictions_to_the_image(compared: Project, system: str, network: str) -> None:
    model = classifier(compared, network)
    clean = np.load(compared.folder / "results/attacks/clean.npz")
    threats = ["gray_box"] if system == "none" else list(SOURCES.values())
    for threat in threats:
        for attack in LINF["methods"]:
            images = read_set(compared, threat, attack)
            place = f"small/{system}/linf/{threat}/{attack}/{PACK}"
            answers = np.load(compared.folder / f"results/predictions/{place}.npz")
            path = compared.folder / f"results/predictions/{place}.npz"
            rows = measured_rows(path, ACCURACY, {"dataset": "shapes", "seed": 1})
            assert [row["epsilon"] for row in rows] == [0.02, 0.1]
            for row in rows:
                with torch.no_grad():
                    classes = model(torch.from_numpy(images[f"{row['epsilon']}/images"])).argmax(1).numpy()
                np.testing.assert_array_equal(answers[f"{row['epsilon']}@{system}"], classes)
                assert float(row["accuracy"]) == pytest.approx((classes == clean["labels"]).mean(), abs=1e-6)
                assert (row["setting"], row["space"], row["defense"]) == (threat, "linf", system)
                assert float(row["delta_max"]) == pytest.approx(float(row["epsilon"]), abs=2e-6)


def test_table_and_figure_are_written(compared: Project) -> None:
    results = compared.folder / "results"
    table = (results / "table1_racnn.md").read_text()
    assert "Paired" in table
    assert "0.9191" in table
    assert (results / "fig_racnn.png").stat().st_size > 10000


def test_what_reruns(compared: Project) -> None:
    assert compared.would_run(*TARGETS, changes=CHANGES) == {}
    more_steps = {**CHANGES, "attacks": {"linf": LINF | {"methods": {"fgsm": {}, "ifgsm": {"steps": 4}}}}}
    assert by_script(compared.would_run(*TARGETS, changes=more_steps)) == {
        "make_attack_set": 2,
        "evaluate_defense": 2,  # of the bare network, and of the defence both threat models in one job
        "make_table1_racnn": 1,
        "plot_fig_racnn": 1,
    }


def test_without_the_section_nothing_is_offered(finished: Project) -> None:
    done = finished.run("-n", "results/table1_racnn.md", check=False)
    assert done.returncode != 0
    assert "No rule to produce results/table1_racnn.md" in done.stdout + done.stderr
