"""Pages as a run and `nndefense compare` write them: small made-up results, names that are long and hostile."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from nndefense.axes.queries import CLEAN, Pack
from nndefense.cli import main
from nndefense.evaluation.rows import format_rows
from nndefense.report.claims.catalog import CLAIMS
from nndefense.report.claims.judge import COLUMNS, judge
from nndefense.report.pages.about import about_run
from nndefense.report.style import figure_bytes

from ..unit import synthetic, text_cases
from ..unit.test_commands_compare import KNN, LARGE, PGD, make_run
from ..unit.test_report_pieces import DEFAULT

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/make_pages.py"
FIGURES = ("fig5", "fig_adaptive")
TABLES = ("worst_case", "card", "table1", "table2", "retrievalguard/table", "claims")
# No line can be broken within it but by force.
LONG = "a_data_set_whose_name_has_no_space_" * 3


def report_pages(folder: Path, single: Sequence[str], request: pytest.FixtureRequest) -> dict[str, Path]:
    """The overview and pages of single tables, made by the rule's script."""
    cases = text_cases.Cases(folder, request)
    about = about_run(DEFAULT.model_copy(update={"dataset": f"{text_cases.HOSTILE} {LONG}"}))
    about["pieces"] = [piece for piece in about["pieces"] if piece["name"] in (*FIGURES, *TABLES)]
    claims = folder / "judged.csv"
    claims.write_text(format_rows(judge(CLAIMS, synthetic.outcomes(n=60), synthetic.PARAMS, resamples=20), COLUMNS))
    files = []
    for name in (*FIGURES, *TABLES):
        made, place = cases.make(name), folder / "results" / name
        contents = {"csv": b"a,b\n1,2\n"}
        if name in FIGURES:
            contents |= {"png": figure_bytes(made.figure, "png"), "pdf": b"%PDF-1.7\n"}
            plt.close(made.figure)
        else:
            contents["md"] = made.markdown.encode()
        place.parent.mkdir(parents=True, exist_ok=True)
        for suffix, content in contents.items():
            files.append(place.with_suffix(f".{suffix}"))
            files[-1].write_bytes(content)
    pages = {name: folder / "results" / f"{name}.html" for name in ("overview", *single)}
    command = [sys.executable, SCRIPT, "--claims", claims, "--about", json.dumps(about)]
    command += ["--files", *files, "--output", *pages.values()]
    subprocess.run(list(map(str, command)), check=True, timeout=120)
    return pages


def comparison_page(folder: Path) -> Path:
    """What `nndefense compare` writes of three runs, one of which has more systems and attacks."""
    packs = (CLEAN, PGD, Pack.parse("raw01/adaptive-knn/worst/eps-0.06"))
    runs = [folder / name for name in ("first", "second", LONG)]
    for seed, run in enumerate(runs):
        make_run(run, seed, systems=(KNN, LARGE) if seed else (KNN,), packs=packs)
    page = folder / "comparison.html"
    assert main(["compare", *map(str, runs), "--output", str(page)]) == 0
    return page
