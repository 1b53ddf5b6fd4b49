"""An attack, a defence with an artifact of its own, an evaluation kind and a figure are each a file and a line.

The workflow then runs them, reruns nothing else, and shows them in rows, overview and report.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from .conftest import Project, by_script

pytestmark = pytest.mark.xdist_group("workflow")

COIN = '''"""Every pixel up or down by chance: as large as an attack, without looking at the model."""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from nndefense.attacks.base import Attack
from nndefense.attacks.noise import random_offsets
from nndefense.core.options import Share


@dataclass(frozen=True, kw_only=True)
class Coin(Attack):
    """A random sign for every pixel."""

    restarts: int = field(default=1, init=False)
    share: Annotated[Share, Field(description="Share of the budget that is spent.")] = 1.0

    def perturb(self, problem, restart):
        z = problem.region.center
        direction, _ = random_offsets(tuple(z.shape), problem.rows, problem.seed, restart)
        spent, saturated = problem.region.spend(direction.sign())
        return z + self.share * (spent - z), saturated
'''
BLEND = '''"""Blends every image with the mean database image, which a rule of its own makes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from nndefense.core.arrays import read_array
from nndefense.core.options import Share
from nndefense.defenses.base import Purifier


@dataclass(frozen=True, kw_only=True)
class Blend(Purifier):
    """Part of the mean image in every image."""

    share: Annotated[Share, Field(description="Share of the mean image.")] = 0.25

    def transform(self, images, rows, seed, context):
        return (1 - self.share) * images + self.share * torch.from_numpy(context["mean_image"]).to(images)


def read_mean(files, facts, network):
    return {"mean_image": read_array(files[0])[0]}
'''
MEAN_RULE = """rule average_images:
    input:
        "<results>/attacks/clean.npz",
    output:
        "<results>/mean_image.npy",
    params:
        job=job("average_images"),
    shell:
        "python {params.job} --queries {input:q} --output {output:q}"
"""
MEAN_SCRIPT = '''"""Average the clean images."""

from nndefense.core.command import parser, run
from nndefense.core.arrays import read_arrays, write_array


def main(arguments, job):
    write_array(arguments.output, read_arrays(arguments.queries, "clean/images")["clean/images"].mean(0))


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--queries", required=True)
    options.add_argument("--output", required=True)
    run(main, options.parse_args())
'''
SPREAD = '''"""How evenly the answers are spread over the classes."""

import numpy as np

from nndefense.evaluation.base import Kind


def measure_spread(answers):
    found = []
    for one in answers:
        shares = np.bincount(one.classes) / len(one.classes)
        found.append({"largest_share": float(shares.max()), "n": len(one.classes)})
    return found


SPREAD = Kind(("largest_share", "n"), measure_spread)
'''
FIGURE = '''"""Accuracy of everything, sorted."""

from nndefense.flow.queries import packs_under
from nndefense.flow.rows import system_files
from nndefense.report.piece import Inputs, RowFigure
from nndefense.report.style import new_figure


def inputs(config, piece):
    packs = packs_under(config, config.base.attack)
    return Inputs({"rows": system_files(config, [config.base.features], packs)})


def select(rows, params):
    return sorted(rows, key=lambda row: row["accuracy"])


def draw(rows, params):
    figure, (axes,) = new_figure(4, 3)
    axes.plot([row["accuracy"] for row in rows])
    return figure


PIECE = RowFigure(
    name="fig_sorted", called="Sorted", category="Figures", title="Every accuracy, sorted", varies="everything",
    shows="All accuracies from low to high.", source="nndefense.report.figures.fig_sorted:inputs",
    select=select, draw=draw,
)
'''


def add(folder: Path, file: str, text: str, registry: str, after: str, line: str) -> None:
    """One file and one line."""
    (folder / file).write_text(text)
    known = (folder / registry).read_text()
    assert known.count(after) == 1, after
    (folder / registry).write_text(known.replace(after, after + line))


LIBRARY = "scripts/nndefense"
CHANGES = {
    "attacks": {"methods": {"coin": {"share": 0.5}}},
    "defenses": {"blend": {"share": 0.5}},
}


@pytest.fixture(scope="module")
def extended(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("extended") / "project")
    folder = project.folder
    add(folder, f"{LIBRARY}/attacks/coin.py", COIN, f"{LIBRARY}/attacks/__init__.py", "ATTACKS = {\n",
        '    "coin": Entry("nndefense.attacks.coin:Coin", "Coin toss"),\n')  # fmt: skip
    add(folder, f"{LIBRARY}/defenses/blend.py", BLEND, f"{LIBRARY}/defenses/__init__.py", "DEFENSES = {\n",
        '    "blend": Entry("nndefense.defenses.blend:Blend", "Blending", needs=("mean_image",)),\n')  # fmt: skip
    (folder / "scripts/average_images.py").write_text(MEAN_SCRIPT)
    add(folder, "rules/means.smk", MEAN_RULE, "Snakefile", 'include: "rules/images.smk"\n',
        'include: "rules/means.smk"\n')  # fmt: skip
    needs = folder / LIBRARY / "flow/needs.py"
    line = '    "mean_image": Need("nndefense.defenses.blend:read_mean", lambda case: ["<results>/mean_image.npy"]),\n'
    needs.write_text(needs.read_text().replace("NEEDS = {\n", "NEEDS = {\n" + line))
    add(folder, f"{LIBRARY}/evaluation/spread.py", SPREAD, f"{LIBRARY}/evaluation/__init__.py", "KINDS = {\n",
        '    "spread": Entry("nndefense.evaluation.spread:SPREAD", "Spread of the answers"),\n')  # fmt: skip
    add(folder, f"{LIBRARY}/report/figures/fig_sorted.py", FIGURE, f"{LIBRARY}/report/__init__.py", "PIECES = {\n",
        '    "fig_sorted": "nndefense.report.figures.fig_sorted:PIECE",\n')  # fmt: skip
    return project


def test_registering_reruns_nothing(extended: Project) -> None:
    assert extended.would_run() == {}


def test_only_what_is_new_runs(extended: Project) -> None:
    planned = extended.would_run(changes=CHANGES)
    # A pack a budget: the attack in two threat models at two budgets.
    assert planned["make_attack_set"] == 4
    assert planned["average_images"] == 1
    assert not {"train_model", "extract_features", "encode_features", "fit_pca"} & set(by_script(planned))


@pytest.fixture(scope="module")
def done(extended: Project) -> Project:
    extended.run("all", changes=CHANGES)
    return extended


def rows_of(project: Project, name: str) -> list[dict]:
    return list(csv.DictReader((project.folder / f"results/{name}.csv").read_text().splitlines()))


def test_attack_and_defence_have_rows(done: Project) -> None:
    rows = rows_of(done, "accuracy")
    coin = [row for row in rows if row["attack"] == "coin"]
    assert {row["defense"] for row in coin} == {"none", "knn"}
    assert {(row["setting"], row["epsilon"]) for row in coin} == {
        (setting, epsilon) for setting in ("gray_box", "black_box") for epsilon in ("0.04", "0.08")
    }
    stored = np.load(done.folder / "results/attacks/raw01/gray_box/coin/eps-0.08.npz")
    np.testing.assert_allclose(stored["0.08/delta_raw01"], 0.5 * 0.08, rtol=1e-4)
    blend = [row for row in rows if row["defense"] == "blend"]
    assert {row["setting"] for row in blend} == {"clean", "gray_box", "black_box"}
    assert "Blending" in (done.folder / "results/table2.md").read_text()


def test_kind_has_rows_with_a_column_of_its_own(done: Project) -> None:
    rows, accuracies = rows_of(done, "spread"), rows_of(done, "accuracy")
    assert len(rows) == len(accuracies)
    assert list(rows[0])[-2:] == ["largest_share", "n"]
    assert list(rows[0])[:14] == list(accuracies[0])[:14]
    assert all(0.1 <= float(row["largest_share"]) <= 1 for row in rows)


def test_overview_and_report_show_all_of_them(done: Project) -> None:
    results = done.folder / "results"
    overview = (results / "overview.html").read_text()
    for text in ("Every accuracy, sorted", "Spread of the answers", "Blending", "Coin toss"):
        assert text in overview, text
    done.run("all", "--report=results/report.html", changes=CHANGES)
    (listed,) = re.findall(r"var results = (\{.*\});", (results / "report.html").read_text())
    shown = {Path(name).name for name in json.loads(listed)}
    assert {"fig_sorted.png", "fig_sorted.csv", "attacks.png", "rows_spread.html", "table2.html"} <= shown


def test_an_attack_without_a_registry_line_is_named(finished: Project) -> None:
    done = finished.run("-n", changes={"attacks": {"methods": {"coin": {}}}}, check=False)
    assert done.returncode != 0
    assert "attacks.methods: 'coin' is unknown; allowed: noise, transfer" in done.stdout + done.stderr
