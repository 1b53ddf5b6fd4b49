"""The l-infinity comparison of networks: the table beside the paper's, its claims, the figure."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from nndefense.axes.cells import Cell, System
from nndefense.axes.queries import Pack
from nndefense.core.errors import InputError
from nndefense.evaluation.rows import accuracy_row
from nndefense.report.claims.judge import judge
from nndefense.report.claims.racnn import RACNN_CLAIMS as CLAIMS
from nndefense.report.claims.verdicts import claims_markdown, headlines
from nndefense.report.figures.fig_racnn import draw_fig_racnn
from nndefense.report.linf import in_part, paper_block, paper_value, select_linf
from nndefense.report.select import matching, only
from nndefense.report.tables.table1_racnn import as_latex, as_markdown, table_rows

from .test_report_figures import assert_drawn

N = 4000
# Defences of an experiment; the baseline is the network without one.
NETWORKS = {"racnn_5": 5, "none": 0, "racnn_10": 10}
NAMES = {"none": "Baseline", "racnn_5": "RA-CNN, N = 5", "racnn_10": "RA-CNN, N = 10"}
PARAMS = {
    "attack_labels": {"fgsm": "FGSM", "ifgsm": "I-FGSM"},
    "defense_labels": {"none": "No defence", "racnn_5": "RA-CNN (racnn_5)", "racnn_10": "RA-CNN (racnn_10)"},
    "linf": {
        "attacks": ["fgsm", "ifgsm"],
        "steps": {"ifgsm": 10},
        "baseline": "resnet20",
        "defenses": ["racnn_5", "racnn_10"],
        "retrieved": {"racnn_5": 5, "racnn_10": 10},
    },
}
EPSILONS = (0.01, 0.02, 0.04, 0.06, 0.08)
PACKED = ",".join(map(str, EPSILONS))
CONJECTURE = "R1.own_gradient_less_useful"


def answers_of(defense: str, value) -> dict[Cell, np.ndarray]:
    """Correctness (N,) of a network's answers, a share `value(defense, attack, epsilon, threat)` right."""
    threats = ["gray_box"] if defense == "none" else ["gray_box", f"gray_box-{defense}"]
    names = ["clean", *(f"linf/{threat}/{attack}/eps-{PACKED}" for threat in threats for attack in ("fgsm", "ifgsm"))]
    # Also within the other balls, which are no part of the comparison.
    names.append("raw01/gray_box/fgsm/eps-0.06")
    found = {}
    for queries in [one for name in names for one in Pack.parse(name)]:
        share = value(defense, queries.attack, queries.epsilon, str(queries.threat))
        found[Cell.of(System.plain(defense), queries)] = np.arange(N) < round(share * N)
    return found


def experiment(value, networks=NETWORKS) -> tuple[list[dict], list[dict]]:
    """Selected rows and judged claims of an experiment with given accuracies."""
    outcomes = {cell: right for defense in networks for cell, right in answers_of(defense, value).items()}
    facts = {"dataset": "svhn", "seed": 1, "model": "resnet20"}
    labels = np.zeros(N, int)
    rows = [accuracy_row(np.where(right, 0, 1), labels, **facts, **cell._asdict()) for cell, right in outcomes.items()]
    return select_linf(rows, PARAMS), judge(CLAIMS, outcomes, PARAMS, resamples=300)


def papers(defense: str, attack: str, epsilon: float, threat: str = "") -> float:
    # Where the paper has no value: a ball that is no part of its table.
    return paper_block()[NAMES[defense]].get((attack, epsilon), 0.5)


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


def test_table_has_a_part_per_threat_and_attack_beside_the_papers(reproduced):
    rows, _ = reproduced
    text = as_markdown(rows, PARAMS)
    for part, axes in (
        ("White box, I-FGSM", {"setting": "gray_box-racnn_5", "attack": "ifgsm"}),
        ("Transfer, FGSM", {"setting": "gray_box", "attack": "fgsm"}),
    ):
        found = cells(text, "RA-CNN, N = 5 (racnn_5)", part)
        row = only(rows, defense="racnn_5", epsilon=0.04, **axes)
        wanted = f"{row['accuracy']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        assert len(found) == 6
        assert found[3].strip("*") == wanted
        assert cells(text, "*RA-CNN, N = 5*", part)[3] == f"{papers('racnn_5', axes['attack'], 0.04):.4f}"
        # The best beyond noise, as the paper's values are.
        assert cells(text, "Baseline (resnet20)", part)[0].startswith("**0.953")
    assert "n = 4,000 images" in text
    assert "FGSM, one step; I-FGSM, 10 steps" in text
    order = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert order[1:4] == ["Baseline (resnet20)", "RA-CNN, N = 5 (racnn_5)", "RA-CNN, N = 10 (racnn_10)"]
    assert order[4:8] == ["*Paper (SVHN, its own networks):*", *(f"*{name}*" for name in paper_block())]


def test_baseline_is_the_same_in_both_parts(reproduced):
    rows, _ = reproduced
    own, transferred = (matching(in_part(rows, part), defense="none") for part in ("white_box", "transfer"))
    assert own == transferred
    assert len(own) == 10


def test_rows_carry_the_papers_value_of_the_same_kind_of_network(reproduced):
    rows, _ = reproduced
    written = table_rows(rows)
    assert len(written) == (1 + 10) + 2 * (1 + 2 * 10)
    for row in written:
        assert row["paper"] == papers(row["defense"], row["attack"], row["epsilon"])
        assert row["accuracy"] == pytest.approx(row["paper"], abs=1 / N)
        assert row["neighbors"] == NETWORKS[row["defense"]]
    assert paper_value(rows[-1] | {"neighbors": 7}) is None
    assert paper_value(rows[-1] | {"neighbors": 0}) is None


def test_latex_has_both_parts_above_the_papers(reproduced):
    text = as_latex(reproduced[0], PARAMS)
    lines = [line for line in text.splitlines() if line.startswith(("Baseline", "RA-CNN"))]
    assert [line.count("&") for line in lines] == [11] * 9
    assert text.index("White box}") < text.index("Transfer}") < text.index("\\emph{Paper (SVHN")
    assert "RA-CNN, N = 10 (racnn\\_10)" in text
    assert "\\textbf{0.953}" in lines[0]
    assert "\\midrule\n\\midrule" not in text


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
    _, judged = experiment(lambda defense, attack, epsilon, threat: 0.5 - harm * (threat == "gray_box"))
    judged = [row for row in judged if row["id"] == CONJECTURE]
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
    _, judged = experiment(papers, ["none", "racnn_5"])
    untested = {row["id"] for row in judged if row["verdict"] == "not tested"}
    assert untested == {"R1.more_neighbors_clean_and_small", "R1.fewer_neighbors_large"}
    assert "**not tested**" in claims_markdown(judged, CLAIMS, "About.")


def test_without_the_comparison_its_claims_are_not_tested():
    for params in ({}, {"linf": None}):
        assert {row["verdict"] for row in judge(CLAIMS, answers_of("none", papers), params, resamples=10)} == {
            "not tested"
        }


def test_rows_without_the_baseline_are_refused(reproduced):
    with pytest.raises(InputError, match="none is of the network without a defence"):
        select_linf(matching(reproduced[0], defense="racnn_5"), PARAMS)


def test_figure_draws_every_row_in_its_panel(reproduced):
    rows, _ = reproduced
    figure = draw_fig_racnn(rows, PARAMS)
    panels = [(attack, part) for attack in ("fgsm", "ifgsm") for part in ("white_box", "transfer")]
    assert len(figure.axes) == 4
    for axes, (attack, part) in zip(figure.axes, panels, strict=True):
        assert_drawn(axes, [*matching(rows, setting="clean"), *matching(in_part(rows, part), attack=attack)])
        assert len(axes.lines) == 3
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Baseline (resnet20)", "RA-CNN, K = 5 (racnn_5)", "RA-CNN, K = 10 (racnn_10)"]
    plt.close(figure)
