"""Certified retrieval in tables, figures, claims and pages."""

import numpy as np
import pytest

from nndefense.core.arrays import write_arrays
from nndefense.core.errors import InputError
from nndefense.evaluation.certified import COLUMNS, Certificates, measure_certified
from nndefense.evaluation.guarded import guard_cell, share_row
from nndefense.evaluation.rows import AXES, format_rows, write_rows
from nndefense.report.claims.judge import COLUMNS as JUDGED
from nndefense.report.claims.retrieval import judge_invariance, judge_trade_off
from nndefense.report.figures.fig_retrieval import PIECE as FIGURE
from nndefense.report.guarded import chosen_radii, read_guarded
from nndefense.report.pages.captions import piece_at, piece_of
from nndefense.report.tables.retrieval import PIECE as TABLE

FACTS = {"dataset": "shapes", "seed": 1, "model": "noisy"}
RADII = [0.0, 0.1, 0.25, 0.5]
PARAMS = {
    "alpha": 0.001,
    # As a job is given them: mappings sorted by key.
    "certificate_labels": {"cdf": "CDF", "linear": "A (Lipschitz)", "vote": "vote"},
    "certificates": ["linear", "cdf", "vote"],
    "embedding_labels": {"lda": "LDA of features"},
    "radii": RADII,
}


def system_rows(sigma, attacked=True):
    """Rows of a retrieval of ten queries: certificates of growing strength, and an attack above them."""
    cells = {rule: guard_cell("shapes", 20, "lda", rule) for rule in ("base", "mean", "vote")}
    labels = np.zeros(10, dtype=int)
    rows = [share_row(cell, np.arange(10) < 8, sigma) for cell in cells.values()]
    for strength, (name, rule) in enumerate((("linear", "mean"), ("cdf", "mean"), ("vote", "vote")), start=1):
        radius = np.linspace(0, 0.2 * strength, 10)
        classes = np.where(radius > 0, 0, -1)
        cell = cells[rule]._replace(attack=name, setting="certified", space="l2")
        rows += measure_certified(Certificates(cell, classes, labels, np.arange(10), radius, sigma), RADII)
    for cell in cells.values() if attacked else ():
        own = cell._replace(attack="metric", setting="white_box", space="l2")
        for place, radius in enumerate((0.0, 0.25)):
            rows.append(share_row(own._replace(epsilon=radius), np.arange(6) < 5 - place, sigma))
    return [{**FACTS, **cell._asdict(), **values} for cell, values in rows]


@pytest.fixture
def rows_files(tmp_path):
    paths = []
    for sigma in (0.12, 0.25):
        paths.append(str(tmp_path / f"{sigma}.csv"))
        write_rows(paths[-1], system_rows(sigma, attacked=sigma > 0.2), (*AXES, *COLUMNS))
    return paths


def test_radii_of_a_table_are_spread_evenly_with_both_ends():
    assert chosen_radii([0.0, 0.05, 0.1, 0.15, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0]) == [0.0, 0.1, 0.25, 0.4, 0.6, 1.0]
    assert chosen_radii([0.5, 0.0]) == [0.0, 0.5]
    assert chosen_radii([0.3]) == [0.3]


def test_the_table_has_every_certificate_and_what_was_attacked(rows_files):
    made = TABLE.make({"rows": rows_files}, PARAMS)
    first, second = made.markdown.split("## ")[1:]
    assert first.startswith("shapes, LDA of features, 20 vectors in the gallery, σ = 0.12")
    lines = [line for line in second.splitlines() if line.startswith("|")]
    assert lines[0] == "|  | Clean | r = 0 | r = 0.1 | r = 0.25 | r = 0.5 | Mean radius | Abstains |"
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == [
        "base model: under attack, n = 6",
        "mean embedding: certified, A (Lipschitz)",
        "mean embedding: certified, CDF",
        "mean embedding: under attack, n = 6",
        "vote of the copies: certified, vote",
        "vote of the copies: under attack, n = 6",
    ]
    certified = lines[3].split("|")
    # Nine of ten have a radius above 0, five of at least 0.1, none of 0.25.
    assert [cell.strip()[:5] for cell in certified[2:6]] == ["0.800", "0.900", "0.500", "0.000"]
    assert [cell.strip() for cell in certified[7:9]] == ["0.100", "0.100"]
    attacked = lines[2].split("|")
    assert [cell.strip()[:5] for cell in attacked[3:7]] == ["0.833", "–", "0.667", "–"]
    assert [line.split("|")[1].strip() for line in first.splitlines() if line.startswith("| ")][1:2] == ["base model"]
    assert made.latex.count("\\midrule") >= 2
    assert "at most 0.01" in made.markdown


def test_the_figure_has_a_panel_per_retrieval_and_one_per_decision_for_several_sigmas(rows_files):
    made = FIGURE.make({"rows": rows_files}, PARAMS)
    titles = [axes.get_title() for axes in made.figure.axes if axes.get_visible()]
    assert titles == [
        "shapes: LDA of features, σ = 0.12",
        "shapes: LDA of features, σ = 0.25",
        "shapes: LDA of features, CDF",
        "shapes: LDA of features, vote",
    ]
    lines = [len(axes.get_lines()) for axes in made.figure.axes if axes.get_visible()]
    # Three certificates; the base model and both decisions under attack; a line per sigma.
    assert lines == [3, 6, 2, 2]
    assert format_rows(made.rows, made.columns) == format_rows(read_guarded(rows_files), (*AXES, *COLUMNS))


def checked_file(path, changed):
    rule = np.array(["mean"] * 6 + ["vote"] * 4)
    certified, answered = np.zeros(10, dtype=int), np.zeros(10, dtype=int)
    answered[:changed] = 1
    write_arrays(path, rule=rule, certified=certified, answered=answered)
    return str(path)


@pytest.mark.parametrize(("changed", "verdict"), [(0, "supported"), (1, "contradicted")])
def test_one_certified_answer_that_changes_contradicts_invariance(tmp_path, changed, verdict):
    judged = judge_invariance({"shapes/lda/sigma-0.25": checked_file(tmp_path / "checked.npz", changed)})
    assert [(row["comparison"], row["n"], row["verdict"]) for row in judged] == [
        ("shapes/lda/sigma-0.25, mean embedding", 6, verdict),
        ("shapes/lda/sigma-0.25, vote of the copies", 4, "supported"),
    ]
    assert judged[0]["effect"] == changed / 6
    assert list(judged[0]) == list(JUDGED)


def test_without_certified_answers_nothing_is_claimed():
    assert [row["verdict"] for row in judge_invariance({})] == ["not tested"]
    assert [row["verdict"] for row in judge_trade_off({}, 1, 100)] == ["not tested", "not tested"]


def test_more_noise_costs_recall_and_certifies_larger_radii(tmp_path):
    n, files = 60, {}
    for sigma, right, radius in ((0.12, 50, 0.1), (0.5, 30, 0.4)):
        answers, certificate = (tmp_path / f"{name}-{sigma}.npz" for name in ("answers", "cdf"))
        classes = np.where(np.arange(n) < right, 0, 1)
        write_arrays(answers, labels=np.zeros(n, dtype=int), mean=classes)
        write_arrays(certificate, classes=classes, radius=np.full(n, radius))
        files[sigma] = (str(answers), str(certificate))
    judged = judge_trade_off({"shapes/lda": files}, 1, 500)
    assert [row["id"] for row in judged] == ["G2.recall_falls_with_sigma", "G2.radius_grows_with_sigma"]
    assert [row["verdict"] for row in judged] == ["supported", "supported"]
    assert judged[0]["effect"] == pytest.approx(20 / 60)
    # Radii of wrong answers count as 0.
    assert judged[1]["effect"] == pytest.approx(0.4 * 30 / 60 - 0.1 * 50 / 60)
    swapped = judge_trade_off({"shapes/lda": {0.12: files[0.5], 0.5: files[0.12]}}, 1, 500)
    assert [row["verdict"] for row in swapped] == ["contradicted", "contradicted"]


def test_files_in_folders_belong_to_the_pieces_of_their_names():
    names = ["fig5", "retrievalguard/fig", "retrievalguard/table"]
    assert piece_at("results/cifar10/retrievalguard/table.csv", names) == "retrievalguard/table"
    assert piece_at("results/captions/fig5.rst", names) == "fig5"
    with pytest.raises(InputError, match=r"results/fig\.png: is no file of a figure or table"):
        piece_at("results/fig.png", names)
    assert piece_of("G1.invariant") == "retrievalguard/table"
