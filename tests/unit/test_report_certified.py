"""Figures of certificates: which rows they have, what is drawn of them, and the scripts that make them."""

import csv
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

from nndefense.axes.cells import System
from nndefense.config import load_config
from nndefense.core.arrays import read_arrays, write_array, write_arrays
from nndefense.core.errors import FileFault, InputError
from nndefense.database.row_checks import row_checks
from nndefense.evaluation.certified import COLUMNS, write_certificates
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.rows import AXES, format_rows
from nndefense.report.figures.poisoning import TICKS, certified_by_insertions, draw_poisoning
from nndefense.report.pieces import load_piece
from nndefense.report.select import distinct, matching
from nndefense.report.style import figure_bytes
from nndefense.retrieval.votes import vote_all
from nndefense.retrieval.weights import stored_weights

from .config_cases import SMALL

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
FACTS = {"dataset": "shapes", "seed": 1, "model": "small"}
PARAMS = {"features": "conv_4_1", "pool": "Targeted", "neighbors": 10, "weighting": "CBW-D", "combination": "soft",
          "facts": FACTS}  # fmt: skip
SIZES = {"Train": (500,), "All": (40, 500), "Targeted": (40, 100, 1000)}
NEIGHBORS = (1, 5, 10, 40)
N = 20


def certified(size, k):
    """Classes and radii of N images: larger databases and K tolerate more, image 0 is wrong, image 1 has no answer."""
    radius = np.minimum(np.arange(N) * size // 400, k // 2)
    return np.where(np.arange(N) == 0, 3, np.where(np.arange(N) == 1, -1, 2)), np.where(np.arange(N) == 1, 0, radius)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("certificates") / "clean.npz"
    systems = [
        System(pool, size, "conv_4_1", k, weighting, "soft", "knn")
        for pool, sizes in SIZES.items()
        for size in sizes
        for k in NEIGHBORS
        for weighting in ("UW", "CBW-D")
    ]
    found = {one: certified(one.size, one.neighbors) for one in systems}
    write_certificates(path, np.full(N, 2), np.arange(N), found)
    return str(path)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def heights(axes):
    """Heights of each line."""
    return [list(line.get_ydata()) for line in axes.lines]


def test_rows_count_images_that_are_right_and_hold(path):
    rows = certified_by_insertions([path], PARAMS)
    ours = matching(rows, pool="Targeted", size=1000, neighbors=40, weighting="UW")
    assert [row["epsilon"] for row in ours] == list(range(22))
    _, radius = certified(1000, 40)
    for row in ours:
        count = int((radius[2:] >= row["epsilon"]).sum())
        low, high = wilson_interval(count, N)
        assert (row["accuracy"], row["ci_low"], row["ci_high"], row["n"]) == (count / N, low, high, N)
        assert (row["attack"], row["setting"], row["space"]) == ("poisoning", "certified", "insertions")
        assert (row["abstained"], row["sigma"], row["mean_radius"]) == (1 / N, 0.0, radius[2:].sum() / N)
    assert ours[0]["accuracy"] == (N - 2) / N
    assert ours[-1]["accuracy"] == 0
    assert {row["epsilon"] for row in matching(rows, neighbors=1)} == {0.0, 1.0}
    assert set(distinct(rows, "weighting")) == {"UW", "CBW-D"}
    text = format_rows(rows, (*AXES, *COLUMNS)).splitlines()
    assert text[0].startswith("dataset,seed,pool,size,model,features")
    assert text[1].startswith("shapes,1,Train,500,small,conv_4_1,1,UW,soft,knn,poisoning,certified,insertions,0.0,0.0")


def test_the_figure_has_a_panel_per_pool_and_one_of_sizes(path):
    rows = certified_by_insertions([path], PARAMS)
    figure = draw_poisoning(rows, PARAMS)
    titles = ["Train, N = 500", "All, N = 500", "Targeted, N = 1k", "Targeted, K = 10"]
    assert [axes.get_title() for axes in figure.axes] == titles
    shown = matching(rows, weighting="CBW-D")
    for axes, (pool, sizes) in zip(figure.axes, SIZES.items(), strict=False):
        for drawn, k in zip(heights(axes), NEIGHBORS, strict=True):
            line = [row["accuracy"] for row in matching(shown, pool=pool, size=max(sizes), neighbors=k)]
            # Down to the first 0.
            assert drawn == line[: line.index(0) + 1]
    by_size = figure.axes[3]
    for drawn, size in zip(heights(by_size), SIZES["Targeted"], strict=True):
        line = [row["accuracy"] for row in matching(shown, pool="Targeted", size=size, neighbors=10)]
        assert drawn == line[: line.index(0) + 1]
    assert {line.get_linestyle() for line in by_size.lines} == {"--"}
    assert len({line.get_marker() for line in by_size.lines}) == 3
    texts = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
    assert texts == [["K = 1", "K = 5", "K = 10", "K = 40"], ["N = 40", "N = 100", "N = 1k"]]
    assert figure.get_suptitle() == f"small; n = {N} test images"
    for axes in figure.axes:
        assert axes.get_ylim() == (0, 1)
        assert {band.get_paths()[0].vertices[:, 1].max() <= 1 for band in axes.collections} == {True}
        for line in axes.lines:
            marked = line.get_xdata()[line.get_markevery()]
            assert marked[-1] == line.get_xdata()[-1]
            assert set(marked[:-1]) <= set(TICKS)
    low, high = figure.axes[0].get_xlim()
    assert low < 0
    assert 21 < high < 25
    assert list(figure.axes[0].get_xticks()) == [0, 1, 2, 5, 10, 20]
    assert figure_bytes(figure, "png") == figure_bytes(draw_poisoning(rows, PARAMS), "png")


def test_a_single_size_has_no_panel_of_its_own(path):
    rows = certified_by_insertions([path], PARAMS | {"pool": "Train"})
    figure = draw_poisoning(matching(rows, pool="Train"), PARAMS | {"pool": "Train"})
    assert [axes.get_title() for axes in figure.axes] == ["Train, N = 500"]


def test_there_are_no_panels_without_rows(path):
    rows = certified_by_insertions([path], PARAMS)
    renamed = [{**row, "pool": "Other"} for row in matching(rows, pool="Train")]
    figure = draw_poisoning([*rows, *renamed], PARAMS)
    assert [axes.get_title() for axes in figure.axes][3:] == ["Other, N = 500", "Targeted, K = 10"]
    # Numbers stand below the lowest of each column, in the second row or the first.
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", *["Inserted images T"] * 3]
    assert [axes.get_ylabel() for axes in figure.axes] == ["Certified accuracy", "", "", "Certified accuracy", ""]


def test_mistakes_are_named(path, tmp_path):
    with pytest.raises(InputError, match="figure poisoning: no row"):
        draw_poisoning(certified_by_insertions([path], PARAMS), PARAMS | {"combination": "hard"})
    stored = read_arrays(path)
    lacking = next(name for name in stored if name.startswith("radius"))
    write_arrays(tmp_path / "x.npz", **{name: one for name, one in stored.items() if name != lacking})
    with pytest.raises(FileFault, match=f"lacks {lacking}"):
        certified_by_insertions([tmp_path / "x.npz"], PARAMS)


def test_it_exists_where_k_or_sizes_vary():
    piece = load_piece("poisoning")
    assert piece.files(DEFAULT) == {"certificates": ["<results>/certificates/poisoning/resnet20/conv_4_1/clean.npz"]}
    assert piece.params(DEFAULT) == {
        "combination": "soft", "features": "conv_4_1", "neighbors": 50, "pool": "Targeted", "weighting": "CBW-D",
        "facts": {"dataset": "shapes", "seed": 1, "model": "resnet20"}, "classes": 10,
    }  # fmt: skip
    one = SMALL | {"sizes": [100]}
    assert piece.exists(load_config(SMALL))
    assert not piece.exists(load_config(one))
    assert piece.exists(load_config(one | {"votes": {"neighbors": [10, 50]}}))


# -- from neighbours to the figure


def test_scripts_certify_votes_and_draw_them(tmp_path):
    random = np.random.default_rng(0)
    sizes, classes = (8, 20), 4
    softmax = random.dirichlet(np.full(classes, 0.2), size=20).astype(np.float16)
    weights = stored_weights(softmax.astype(np.float32))
    about = {"pool": "All", "start": 0, "stop": 20}
    write_array(tmp_path / "rows.npy", softmax, about)
    write_array(tmp_path / "weights.npy", weights, about)
    write_array(tmp_path / "checks.npy", row_checks(softmax, first=0), about)
    # The smaller database has fewer images than places.
    ids = np.stack([random.permuted(np.tile(np.arange(size), (N, 1)), axis=1)[:, :10] for size in (10, 20)])
    ids[0, :, 8:] = -1
    write_arrays(tmp_path / "lists.npz", stops=np.array(sizes), ids=ids[None], distances=np.zeros(ids[None].shape))
    labels = random.integers(classes, size=N)
    write_arrays(tmp_path / "queries.npz", labels=labels, rows=np.arange(N))
    arguments = ["--queries", "queries.npz", "--pools", "All", "--sizes", "[8, 20]", "--neighbors", "lists.npz",
                 "--softmax", "rows.npy", "--weights", "weights.npy", "--checks", "checks.npy", "--k", "3", "10",
                 "--layer", "conv_4_1", "--certificates", "certificates.npz", "--log", "log"]  # fmt: skip
    run("certify_votes", *arguments, cwd=tmp_path)
    assert "24 cells of 20 queries" in (tmp_path / "log").read_text()
    stored = read_arrays(tmp_path / "certificates.npz")
    shown = np.where(ids[0] == -1, 0, ids[0])
    votes = vote_all(softmax[shown].astype(np.float32), weights[shown], ids[0] != -1, neighbors=[10],
                     weightings=["CBW-D"], combinations=["soft"])  # fmt: skip
    np.testing.assert_array_equal(stored["classes@All/8/10/CBW-D/soft"], votes[10, "CBW-D", "soft"])
    np.testing.assert_array_equal(stored["labels"], labels)

    params = str(PARAMS | {"pool": "All"}).replace("'", '"')
    outputs = [part for kind in ("csv", "pdf", "png") for part in (f"--{kind}", f"poisoning.{kind}")]
    run("plot_figure", "--piece", "poisoning", "--params", params, "--files", "certificates.npz",
        "--roles", "certificates", *outputs, cwd=tmp_path)  # fmt: skip
    assert (tmp_path / "poisoning.pdf").read_bytes().startswith(b"%PDF")
    rows = list(csv.DictReader((tmp_path / "poisoning.csv").read_text().splitlines()))
    assert len(rows) == 2 * 6 * (3 + 7)
    right = float((votes[10, "CBW-D", "soft"] == labels).mean())
    (clean,) = matching(rows, size="8", neighbors="10", weighting="CBW-D", combination="soft", epsilon="0.0")
    assert float(clean["accuracy"]) == pytest.approx(right, abs=1e-6)


def run(script, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *arguments], cwd=cwd, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
