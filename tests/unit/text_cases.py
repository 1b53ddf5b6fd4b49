"""Text that acts in some document or on a terminal, and every figure and table made with such names."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from nndefense.core.files import read_json, write_json
from nndefense.core.text import one_line
from nndefense.evaluation.certified import COLUMNS as CERTIFIED
from nndefense.evaluation.rows import AXES, COLUMNS, format_rows, write_rows
from nndefense.evaluation.worst import BREAKS, WORST_CASE
from nndefense.models.history import write_history
from nndefense.report.claims.catalog import CLAIMS
from nndefense.report.claims.judge import judge
from nndefense.report.claims.verdicts import claims_latex, claims_markdown
from nndefense.report.figures.fig_racnn import draw_fig_racnn
from nndefense.report.piece import Made
from nndefense.report.pieces import every_piece, load_piece
from nndefense.report.tables import claims, table1_racnn

from . import (
    dictionary_figure_cases,
    synthetic,
    test_index_report,
    test_linf_comparison,
    test_report_certified,
    test_report_dictionaries,
    test_report_dictionary_sheets,
    test_report_retrieval,
    test_report_training,
    test_report_worst,
)

HOSTILE = (
    "$x^{$ **b** *i* `c` [l](u) ![m](n) <script>alert(1)</script> |t| _u_ \\ &lt; ~~s~~ {{ 7*7 }} {% x %} %5 #1 "
    "http://e.x\n.. include:: /etc/hostname\n\x1b[31m\u202e end"
)
SHORT = "$y^{$\x1b|_<b>"
SHOWN, SHOWN_SHORT = one_line(HOSTILE), one_line(SHORT)
# Of these, configurations and image sets give no names but those of a fixed form.
PLAIN = ("fig3", "fig4", "fig5", "fig6", "attacks", "poisoning", "training", "fig_index",
         *(f"fig{number}" for number in range(7, 13)))  # fmt: skip


def named(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters whose labels, and the run's data set, act."""
    found = dict(params)
    for key in ("attack_labels", "defense_labels", "embedding_labels"):
        if key in found:
            found[key] = {name: f"{HOSTILE} {name}" for name in found[key]}
    if "facts" in found:
        found["facts"] = found["facts"] | {"dataset": HOSTILE}
    return found | {"dataset": HOSTILE}


def relabelled(rows: list[dict]) -> list[dict]:
    return [row | {"dataset": HOSTILE} for row in rows]


@cache
def accuracy_text() -> str:
    rows = relabelled(synthetic.accuracy_rows(n=20))
    # Few of them, in all that pieces vary.
    return format_rows([row for row in rows if row["neighbors"] in (0, 1, 50) and row["weighting"] != "CBW-E"], COLUMNS)


class Cases:
    """Makes pieces by name; fixtures of the tests of each are taken from the request."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        self.folder, self.request = folder, request

    def make(self, name: str) -> Made:
        makers: dict[str, Callable[[str], Made]] = {
            "fig_adaptive": self.worst, "fig_encoders": self.worst, "worst_case": self.worst, "card": self.worst,
            "fig1": self.illustrated, "fig2": self.illustrated, "fig_racnn": self.linf,
            "table1_racnn": self.linf, "table3": self.sizes,
            "retrievalguard/fig": self.retrieval, "retrievalguard/table": self.retrieval, "srd/fig": self.compared,
            "srd/table": self.purifiers, "srd/clusters": self.clusters, "srd/dictionaries": self.filters,
            "poisoning": self.poisoning, "fig_index": self.indexes, "index_report": self.indexes,
            "training": self.training, "claims": self.claims,
        }  # fmt: skip
        return makers.get(name, self.accuracy)(name)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def accuracy(self, name: str) -> Made:
        (self.folder / "rows.csv").write_text(accuracy_text(), encoding="utf-8", newline="")
        model = {"name": "n", "architecture": "a", "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 9}
        model |= {"provenance": {"file": HOSTILE, "sha256": "0" * 64}}
        write_json(self.path("model.json"), model)
        attack = {"fig7": "fgsm", "fig9": "fgsm", "fig11": "fgsm", "fig8": "cw", "fig10": "cw", "fig12": "cw"}
        params = named(synthetic.PARAMS) | ({"attack": attack[name]} if name in attack else {})
        return load_piece(name).make({"rows": [self.path("rows.csv")], "models": [self.path("model.json")]}, params)

    def worst(self, name: str) -> Made:
        case = test_report_worst
        write_rows(self.path("worst.csv"), relabelled(case.WORST), (*AXES, *WORST_CASE.columns))
        write_rows(self.path("breaks.csv"), relabelled(case.BREAKS_ROWS), (*AXES, *BREAKS.columns))
        reports = [self.path(f"{one}.json") for one in ("knn", "crop_ensemble", "none")]
        for path in reports:
            write_json(path, case.report(Path(path).stem, stages=[case.stage("soft_retrieval", 5)]))
        files = {"worst": [self.path("worst.csv")], "breaks": [self.path("breaks.csv")], "reports": reports}
        encoders = {"layers": {"knn": HOSTILE}, "encoders": {HOSTILE: HOSTILE}, "target": HOSTILE}
        return load_piece(name).make(files, named(case.PARAMS) | encoders)

    def illustrated(self, name: str) -> Made:
        files, params = self.request.getfixturevalue("illustrated")
        about = read_json(files["task"][0])
        about["class_names"] = [f"{SHORT}{number}" for number in range(len(about["class_names"]))]
        write_json(files["task"][0], about)
        return load_piece(name).make(files, named(params))

    def linf(self, name: str) -> Made:
        rows, _ = test_linf_comparison.experiment(test_linf_comparison.papers)
        params = named(test_linf_comparison.PARAMS)
        if name == "fig_racnn":
            return Made(rows, figure=draw_fig_racnn(rows, params))
        rows = relabelled(rows)
        tex = table1_racnn.as_latex(rows, params)
        return Made(rows, markdown=table1_racnn.as_markdown(rows, params), latex=tex)

    def sizes(self, name: str) -> Made:
        layer = {"source": HOSTILE, "layer": "conv_4_1", "pca_dim": 2}
        layer |= dict.fromkeys(("channels", "height", "width"), 4)
        layer |= dict.fromkeys(("pooled_channels", "pooled_height", "pooled_width"), 2)
        write_json(self.path("sizes.json"), {"layers": [layer], "reference": HOSTILE})
        return load_piece(name).make({"sizes": [self.path("sizes.json")]}, {})

    def retrieval(self, name: str) -> Made:
        rows = relabelled(test_report_retrieval.system_rows(0.25))
        write_rows(self.path("guarded.csv"), rows, (*AXES, *CERTIFIED))
        return load_piece(name).make({"rows": [self.path("guarded.csv")]}, named(test_report_retrieval.PARAMS))

    def compared(self, name: str) -> Made:
        files, params = self.request.getfixturevalue("compared")
        dictionary_figure_cases.named_file(files["task"][0], [f"{SHORT}{number}" for number in range(3)])
        return load_piece(name).make(files, named(params))

    def purifiers(self, name: str) -> Made:
        params = named(test_report_dictionaries.PARAMS) | {"root": str(self.folder)}
        return load_piece(name).make(self.request.getfixturevalue("files"), params)

    def clusters(self, name: str) -> Made:
        clusters = dictionary_figure_cases.clusters_file(self.path("clusters.npz"))
        files = test_report_dictionary_sheets.cluster_files(self.folder, clusters)
        dictionary_figure_cases.named_file(files["learnt"][0], [f"{SHORT}{number}" for number in range(3)])
        return load_piece(name).make(files, test_report_dictionary_sheets.SILHOUETTE)

    def filters(self, name: str) -> Made:
        case = dictionary_figure_cases
        files = {
            "dictionaries": [case.learnt(self.path("learnt.npz"))],
            "clusters": [case.clusters_file(self.path("clusters.npz"))],
            "learnt": [case.named_file(self.path("set.json"), [f"{SHORT}{number}" for number in range(3)])],
        }
        return load_piece(name).make(files, {})

    def poisoning(self, name: str) -> Made:
        path = self.request.getfixturevalue("path")
        return load_piece(name).make({"certificates": [path]}, named(test_report_certified.PARAMS))

    def indexes(self, name: str) -> Made:
        measured = self.request.getfixturevalue("measured")
        return load_piece(name).make({"measured": measured}, named(test_index_report.PARAMS))

    def training(self, name: str) -> Made:
        write_history(self.path("training.csv"), test_report_training.history(3))
        return load_piece(name).make({"histories": [self.path("training.csv")]}, {"models": ["net"]})

    def claims(self, name: str) -> Made:
        outcomes = synthetic.outcomes(n=60)
        params = named(synthetic.PARAMS) | {"model": "net", "resamples": 100}
        judged = judge(CLAIMS, outcomes, params, resamples=100)
        about = claims.about_run(params, 60)
        found = [claims_markdown(judged, CLAIMS, about), claims_latex(judged, CLAIMS, about)]
        return Made(judged, markdown=found[0], latex=found[1])


NAMES = [piece.name for piece in every_piece()]
