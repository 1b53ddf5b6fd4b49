"""The l-infinity comparison of networks: bounded sets, the table beside the paper's, its claims, the figure."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from nndefense.attacks.linf_sets import attack_linf, linf_distance
from nndefense.config import read_schema, validate_config
from nndefense.errors import ConfigError, InputError
from nndefense.linf_plan import LinfPlan
from nndefense.models.build import build_model
from nndefense.report.claims_racnn import CLAIMS
from nndefense.report.fig_racnn import draw_fig_racnn
from nndefense.report.judge import judge
from nndefense.report.linf import linf_outcomes, paper_block, paper_value, select_linf
from nndefense.report.select import matching, only
from nndefense.report.table1_racnn import as_latex, as_markdown, table_rows
from nndefense.report.verdicts import headlines
from nndefense.retrieval.accuracy import accuracy_row

from .test_config import ROOT, load
from .test_report_figures import assert_drawn

N = 4000
BASE = {"baseline": "resnet20", "steps": 10, "resamples": 300}
NETWORKS = {"racnn_5": 5, "resnet20": 0, "racnn_10": 10}
NAMES = {"resnet20": "Baseline", "racnn_5": "RA-CNN, N = 5", "racnn_10": "RA-CNN, N = 10"}
EPSILONS = (0.01, 0.02, 0.04, 0.06, 0.08)
CONJECTURE = "R1.own_gradient_less_useful"
NOTHING = {"pool": "none", "size": 0, "features": "none", "weighting": "none", "combination": "none"}


def predictions_of(network: str, value) -> dict[str, np.ndarray]:
    """Predictions as `evaluate_linf` writes them, with a share `value(network, attack, epsilon)` right."""
    right = lambda share: (np.arange(N) >= round(share * N)).astype(np.int16)  # noqa: E731
    found = {"labels": np.zeros(N, int), "rows": np.arange(N), "clean": right(value(network, "none", 0.0))}
    for setting in ("white_box", "transfer"):
        for attack in ("fgsm", "ifgsm"):
            for epsilon in EPSILONS:
                found[f"{setting}/{attack}/{epsilon}"] = right(value(network, attack, epsilon))
    return found


def rows_of(network: str, predictions: dict[str, np.ndarray]) -> list[dict]:
    facts = NOTHING | {"dataset": "svhn", "seed": 1, "model": network, "neighbors": NETWORKS[network]}
    rows = []
    for name, classes in predictions.items():
        if name in ("labels", "rows"):
            continue
        setting, attack, epsilon = ("clean", "none", 0) if name == "clean" else name.split("/")
        axes = {"setting": setting, "attack": attack, "space": "linf", "epsilon": float(epsilon), "defense": "none"}
        rows.append(accuracy_row(classes, predictions["labels"], **facts, **axes))
    return rows


def experiment(value) -> tuple[list[dict], list[dict]]:
    """Selected rows and judged claims of an experiment with given accuracies."""
    rows, outcomes = [], {}
    for network in NETWORKS:
        predictions = predictions_of(network, value)
        found = rows_of(network, predictions)
        rows += found
        outcomes |= linf_outcomes(predictions, found[0])
    return select_linf(rows, BASE), judge(CLAIMS, outcomes, BASE, resamples=BASE["resamples"])


def papers(network: str, attack: str, epsilon: float) -> float:
    return paper_block()[NAMES[network]][attack, epsilon]


@pytest.fixture(scope="module")
def reproduced() -> tuple[list[dict], list[dict]]:
    return experiment(papers)


def cells(text: str, first: str, part: str) -> list[str]:
    """Cells of the row that begins with `first` in the part of the Markdown table under the heading `part`."""
    section = text[text.index(f"## {part}\n") :].split("\n## ")[0]
    (line,) = [line for line in section.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_every_value_of_the_papers_table_is_there():
    values = paper_block()
    assert list(values) == ["Baseline", "RA-CNN, N = 5", "RA-CNN, N = 10"]
    assert all(len(row) == 11 for row in values.values())
    assert values["Baseline"]["none", 0.0] == 0.9527
    assert values["RA-CNN, N = 5"]["ifgsm", 0.08] == 0.2641
    assert values["RA-CNN, N = 10"]["fgsm", 0.01] == 0.8258


def test_table_has_a_part_per_setting_and_attack_beside_the_papers(reproduced):
    rows, judged = reproduced
    text = as_markdown(rows, judged, BASE)
    for part, axes in (
        ("White box, I-FGSM", {"setting": "white_box", "attack": "ifgsm"}),
        ("Transfer, FGSM", {"setting": "transfer", "attack": "fgsm"}),
    ):
        found = cells(text, "RA-CNN, N = 5 (racnn_5)", part)
        row = only(rows, model="racnn_5", epsilon=0.04, **axes)
        wanted = f"{row['accuracy']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        assert len(found) == 6
        assert found[3].strip("*") == wanted
        # The best of its column, as the paper's values are: more than N = 10 and than the baseline.
        assert found[3].startswith("**")
        assert cells(text, "*RA-CNN, N = 5*", part)[3] == f"*{papers('racnn_5', axes['attack'], 0.04):.4f}*"
        assert cells(text, "Baseline (resnet20)", part)[0].startswith("**0.953")
    assert "n = 4,000 images" in text
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert order[1:4] == ["Baseline (resnet20)", "RA-CNN, N = 5 (racnn_5)", "RA-CNN, N = 10 (racnn_10)"]
    assert order[4:8] == ["*Paper (SVHN, its own networks):*", *(f"*{name}*" for name in paper_block())]


def test_rows_carry_the_papers_value_of_the_same_kind_of_network(reproduced):
    rows, _ = reproduced
    written = table_rows(rows, BASE)
    assert len(written) == 3 * (1 + 2 * 2 * 5)
    for row in written:
        assert row["paper"] == papers(row["model"], row["attack"], row["epsilon"])
        assert row["accuracy"] == pytest.approx(row["paper"], abs=1 / N)
    assert paper_value(rows[0] | {"model": "racnn_7", "neighbors": 7}, BASE) is None
    assert paper_value(rows[0] | {"model": "resnet14", "neighbors": 0}, BASE) is None


def test_latex_has_both_settings_above_the_papers(reproduced):
    text = as_latex(reproduced[0], BASE)
    lines = [line for line in text.splitlines() if line.startswith(("Baseline", "RA-CNN"))]
    assert [line.count("&") for line in lines] == [11] * 9
    assert text.index("White box}") < text.index("Transfer}") < text.index("\\emph{Paper (SVHN")
    assert "RA-CNN, N = 10 (racnn\\_10)" in text
    assert "\\textbf{0.953}" in lines[0]


def test_the_papers_numbers_support_its_claims(reproduced):
    verdicts = {}
    # Here own and transferred images are as strong, so the conjecture on gradients is another test's.
    for row, singles in headlines([row for row in reproduced[1] if row["id"] != CONJECTURE]):
        assert all(single["verdict"] == "supported" for single in singles), row["comparison"]
        verdicts.setdefault(row["id"], []).append((row["verdict"], len(singles)))
    assert {name: [count for _, count in found] for name, found in verdicts.items()} == {
        "R1.baseline_best_clean": [2],
        "R1.retrieval_more_robust": [20, 20],
        "R1.more_neighbors_clean_and_small": [1, 2, 2],
        "R1.fewer_neighbors_large": [6, 6],
    }


def test_claims_fail_where_the_trends_are_turned_around():
    _, judged = experiment(lambda *cell: 1 - papers(*cell))
    assert {row["verdict"] for row, _ in headlines(judged) if row["id"] != CONJECTURE} == {"contradicted"}


@pytest.mark.parametrize(("harm", "verdict"), [(0.1, "supported"), (0.0, "inconclusive"), (-0.1, "contradicted")])
def test_masked_gradients_show_where_transferred_images_do_more_harm(harm, verdict):
    outcomes = {}
    for network in NETWORKS:
        found = predictions_of(network, lambda *cell: 0.5)
        changed = predictions_of(network, lambda *cell: 0.5 - harm)
        found |= {name: classes for name, classes in changed.items() if name.startswith("transfer")}
        outcomes |= linf_outcomes(found, rows_of(network, found)[0])
    judged = [row for row in judge(CLAIMS, outcomes, BASE, resamples=100) if row["id"] == CONJECTURE]
    assert {row["verdict"] for row in judged} == {verdict}
    assert [row["pooled"] for row in judged] == [20] + [1] * 20
    assert judged[0]["effect"] == pytest.approx(harm)


def test_effects_are_differences_in_accuracy(reproduced):
    label = "racnn_10 minus resnet20, White box FGSM ε = 0.06"
    (row,) = [row for row in reproduced[1] if row["comparison"].endswith(label)]
    assert row["effect"] == pytest.approx(0.4081 - 0.2222, abs=1 / N)
    assert row["ci_low"] < row["effect"] < row["ci_high"]
    assert row["n"] == N


def test_claims_on_numbers_of_neighbours_need_two_of_them():
    rows, outcomes = [], {}
    for network in ("resnet20", "racnn_5"):
        predictions = predictions_of(network, papers)
        rows += rows_of(network, predictions)
        outcomes |= linf_outcomes(predictions, rows[-1])
    judged = judge(CLAIMS, outcomes, BASE, resamples=100)
    untested = {row["id"] for row in judged if row["verdict"] == "not tested"}
    assert untested == {"R1.more_neighbors_clean_and_small", "R1.fewer_neighbors_large"}
    assert "**not tested**" in as_markdown(select_linf(rows, BASE), judged, BASE)


def test_rows_without_the_baseline_are_refused(reproduced):
    with pytest.raises(InputError, match="none is of the baseline 'resnet14'"):
        select_linf(reproduced[0], {"baseline": "resnet14"})


def test_figure_draws_every_row_in_its_panel(reproduced):
    rows, _ = reproduced
    figure = draw_fig_racnn(rows, BASE)
    panels = [(attack, setting) for attack in ("fgsm", "ifgsm") for setting in ("white_box", "transfer")]
    assert len(figure.axes) == 4
    for axes, (attack, setting) in zip(figure.axes, panels, strict=True):
        assert_drawn(axes, [*matching(rows, setting="clean"), *matching(rows, setting=setting, attack=attack)])
        assert len(axes.lines) == 3
    plt.close(figure)


@pytest.fixture(scope="module")
def attacked() -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
    model = build_model("cifar_resnet8", 10, [0.5] * 3, [0.25] * 3, seed=3).requires_grad_(False)
    random = np.random.default_rng(0)
    # Many pixels at the edges of the range, where clipping matters.
    images = np.clip(random.random((10, 3, 16, 16), dtype=np.float32) * 1.2 - 0.1, 0, 1)
    return model, {"images": images, "labels": random.integers(0, 10, 10), "rows": np.arange(10) * 7}


@pytest.mark.parametrize(("attack", "steps"), [("fgsm", 1), ("ifgsm", 10), ("ifgsm", 3)])
def test_sets_spend_the_budget_and_no_more(attacked, attack, steps):
    model, clean = attacked
    for epsilon in (0.01, 0.08):
        result = attack_linf(model, clean, attack, epsilon=epsilon, steps=steps, batch=4)
        change = np.abs(result["images"].astype(float) - clean["images"])
        assert change.max() <= epsilon + 1e-7
        np.testing.assert_allclose(result["linf"], change.reshape(10, -1).max(axis=1), rtol=1e-5)
        assert result["linf"].min() > 0.99 * epsilon
        assert result["images"].min() >= 0
        assert result["images"].max() <= 1
        assert result["images"].dtype == np.float32
        assert result["rows"].tolist() == clean["rows"].tolist()


def test_sets_agree_with_a_few_lines(attacked):
    model, clean = attacked
    images, labels, epsilon, steps = torch.from_numpy(clean["images"]), torch.from_numpy(clean["labels"]), 0.04, 5
    current = images.clone()
    for _ in range(steps):
        current.requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(current), labels, reduction="sum"), current)
        current = (current.detach() + epsilon / steps * gradient.sign()).clamp(0, 1)
    ours = attack_linf(model, clean, "ifgsm", epsilon=epsilon, steps=steps, batch=10)["images"]
    # A gradient near 0 may have another sign where convolutions round otherwise.
    assert (np.abs(ours - current.numpy()) < 1e-6).mean() > 0.999
    assert torch.equal(model(torch.from_numpy(ours)).argmax(1), model(current).argmax(1))


def test_batches_change_nothing_but_rounding(attacked):
    model, clean = attacked
    counts = []
    sets = [
        attack_linf(model, clean, "fgsm", epsilon=0.02, steps=1, batch=batch, on_batch=counts.append)["images"]
        for batch in (3, 10)
    ]
    assert counts == [3, 3, 3, 1, 10]
    assert (np.abs(sets[0] - sets[1]) < 1e-6).mean() > 0.999


def test_other_attacks_have_no_linf_form(attacked):
    with pytest.raises(ConfigError, match="allowed: fgsm, ifgsm"):
        attack_linf(*attacked, "cw", epsilon=0.01, steps=1, batch=10)


def test_distance_is_the_largest_change():
    assert linf_distance(np.array([[[0.5, 0.25]], [[1, 1]]]), np.array([[[0.25, 0.75]], [[1, 1]]])).tolist() == [0.5, 0]


def configured(**section) -> dict:
    config = load(ROOT / "config.yaml")
    return config | {"linf": {"networks": ["resnet20", "resnet14"], **section}}


def test_plan_names_sets_and_targets():
    config = validate_config(configured(epsilons=[0.01, 0.1]), read_schema(ROOT / "schemas/config.schema.yaml"))
    plan = LinfPlan(config)
    assert plan.names() == ["fgsm/0.01", "fgsm/0.1", "ifgsm/0.01", "ifgsm/0.1"]
    assert [path.removeprefix("<results>/linf/resnet14/") for path in plan.sets("resnet14")] == [
        f"{attack}/eps-{epsilon}.npz" for attack in ("fgsm", "ifgsm") for epsilon in (0.01, 0.1)
    ]
    assert (plan.baseline, plan.steps("fgsm"), plan.steps("ifgsm"), plan.keep) == ("resnet20", 1, 10, True)
    assert plan.targets() == ["<results>/table1_racnn.md", "<results>/fig_racnn.pdf"]
    assert LinfPlan({"linf": None}).targets() == []


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"networks": ["resnet20", "vgg"]}, "linf.networks: 'vgg' is unknown; allowed: resnet20, resnet14"),
        ({"networks": ["resnet20"]}, "linf.networks: ['resnet20'] is too short"),
        ({"epsilons": [0]}, "linf.epsilons.0: 0 is less than or equal to the minimum of 0"),
        ({"steps": 0}, "linf.steps: 0 is less than the minimum of 1"),
        ({"attacks": ["cw"]}, "linf: unknown key 'attacks'; allowed: networks, epsilons, steps, keep"),
    ],
)
def test_errors_of_the_section_are_one_line(section, message):
    with pytest.raises(ConfigError) as caught:
        validate_config(configured(**section), read_schema(ROOT / "schemas/config.schema.yaml"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
