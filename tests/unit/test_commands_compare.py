"""Runs side by side: differences and intervals against loops over images, what is paired, what only one run has."""

import csv
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from nndefense.axes.cells import System
from nndefense.axes.queries import CLEAN, Pack
from nndefense.cli import main
from nndefense.core.arrays import write_arrays
from nndefense.core.errors import InputError
from nndefense.evaluation.comparing import compare_runs, read_run
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.outcomes import write_predictions
from nndefense.evaluation.pairs import paired_difference, unpaired_difference

LAYER = "conv_4_1"
KNN = System("Web", 200, LAYER, 9, "CBW-D", "soft", "knn")
LARGE = KNN._replace(size=400)
PGD = Pack.parse("raw01/gray_box/pgd/eps-0.02,0.06")
WORST = Pack.parse("raw01/adaptive-knn/worst/eps-0.06")
ROWS = np.array([3, 5, 8, 13, 21, 34, 55, 89, 144, 233])


def labels_of(rows):
    return rows % 10


def make_run(
    root, seed=0, rows=ROWS, model="net", systems=(KNN,), packs=(CLEAN, PGD), sums=None, order=None, share=0.6
):
    """Answers of systems to packs, a share of them right by chance; `sums`: of the test images' pixels."""
    rng = np.random.default_rng(seed)
    rows = rows if order is None else rows[order]
    right = {}
    for pack in packs:
        predicted = {}
        for queries in pack:
            for system in systems:
                held = rng.random(len(rows)) < share
                right[system, queries.member, pack.attack] = dict(zip(rows.tolist(), held.tolist(), strict=True))
                predicted[queries, system] = np.where(held, labels_of(rows), (labels_of(rows) + 1) % 10)
        folder = LAYER if systems[0].defense == "knn" else systems[0].defense
        path = root / f"predictions/{model}/{folder}/{pack}.npz"
        write_predictions(path, labels_of(rows), rows, predicted, {one: np.zeros(len(rows)) for one in pack})
    sums = rows.astype(np.uint64) * 7 + 1 if sums is None else sums
    write_arrays(root / "attacks/clean.npz", rows=rows, pixels=sums, labels=labels_of(rows))
    return right


def compared(root, **options):
    found = compare_runs(read_run(root / "a", "a"), read_run(root / "b", "b"))
    return {(one.cell.size, one.cell.attack, one.cell.epsilon): one for one in found}


def by_counts(ours, reference):
    """Agresti and Min's interval, by a loop: half an image is added to each cell of the table of pairs."""
    cells = {(True, True): 0.5, (True, False): 0.5, (False, True): 0.5, (False, False): 0.5}
    for pair in zip(ours, reference, strict=True):
        cells[pair] += 1
    n = sum(cells.values())
    gained, lost = cells[True, False] / n, cells[False, True] / n
    half = norm.ppf(0.975) * sqrt((gained + lost - (gained - lost) ** 2) / n)
    return gained - lost - half, gained - lost + half


def test_differences_are_those_of_a_loop_over_images_in_any_order(tmp_path):
    first = make_run(tmp_path / "a", 1)
    second = make_run(tmp_path / "b", 2, order=np.random.default_rng(0).permutation(len(ROWS)))
    found = compared(tmp_path)
    assert set(found) == {(200, "none", 0.0), (200, "pgd", 0.02), (200, "pgd", 0.06)}
    for (_, attack, epsilon), one in found.items():
        member = "clean" if attack == "none" else f"{epsilon:g}"
        before, after = (right[KNN, member, attack] for right in (first, second))
        ours, reference = [after[row] for row in ROWS.tolist()], [before[row] for row in ROWS.tolist()]
        assert one.value == pytest.approx((sum(ours) - sum(reference)) / 10)
        assert one.value == pytest.approx(one.ours - one.reference)
        assert (one.low, one.high) == pytest.approx(by_counts(ours, reference))
        assert one.direction == (one.low > 0) - (one.high < 0)
        assert (one.n, one.n_reference, one.n_ours) == (10, 10, 10)
    assert len({one.value for one in found.values()}) > 1


def test_images_that_both_have_are_paired(tmp_path):
    first = make_run(tmp_path / "a", 1, ROWS[:8])
    second = make_run(tmp_path / "b", 2, ROWS[3:])
    one = compared(tmp_path)[200, "none", 0.0]
    before, after = (right[KNN, "clean", "none"] for right in (first, second))
    common = ROWS[3:8].tolist()
    assert (one.n, one.n_reference, one.n_ours) == (5, 8, 7)
    assert one.reference == pytest.approx(np.mean([before[row] for row in common]))
    assert (one.low, one.high) == pytest.approx(
        by_counts([after[row] for row in common], [before[row] for row in common])
    )


def test_without_common_images_the_interval_is_that_of_independent_ones(tmp_path, capsys):
    first = make_run(tmp_path / "a", 1, ROWS[:4])
    second = make_run(tmp_path / "b", 2, ROWS[4:])
    one = compared(tmp_path)[200, "none", 0.0]
    before, after = (list(right[KNN, "clean", "none"].values()) for right in (first, second))
    assert one.n == 0
    assert one.value == pytest.approx(np.mean(after) - np.mean(before))
    low, high = wilson_interval(sum(after), 6)
    least, most = wilson_interval(sum(before), 4)
    p, q = np.mean(after), np.mean(before)
    assert one.low == pytest.approx(p - q - sqrt((p - low) ** 2 + (most - q) ** 2))
    assert one.high == pytest.approx(p - q + sqrt((high - p) ** 2 + (q - least) ** 2))
    assert run(tmp_path) == 0
    assert "b: 3 cells in common: 0 paired, 3 not (no test image in common)" in told(capsys)


def test_newcombes_interval_is_that_of_his_paper():
    """Newcombe 1998, table II, method 10."""
    for (a, m, b, n), expected in {(56, 70, 48, 80): (0.0524, 0.3339), (9, 10, 3, 10): (0.1705, 0.8090)}.items():
        ours, reference = (np.arange(count) < right for right, count in ((a, m), (b, n)))
        assert unpaired_difference(ours, reference)[1:] == pytest.approx(expected, abs=5e-5)
    with pytest.raises(InputError, match="n > 0"):
        unpaired_difference(np.zeros(0, bool), np.zeros(3, bool))


def test_ids_of_other_images_are_not_paired(tmp_path, capsys):
    make_run(tmp_path / "a", 1)
    sums = ROWS.astype(np.uint64) * 7 + 1
    sums[:4] += 1
    make_run(tmp_path / "b", 2, sums=sums)
    assert {one.n for one in compared(tmp_path).values()} == {6}
    make_run(tmp_path / "b", 2, sums=ROWS.astype(np.uint64))
    assert {one.n for one in compared(tmp_path).values()} == {0}
    assert run(tmp_path) == 0
    assert "3 not (the same ids are other images, or of another size)" in told(capsys)
    # Without sums of pixels, ids and labels have to do.
    write_arrays(tmp_path / "b/attacks/clean.npz", rows=ROWS)
    assert {one.n for one in compared(tmp_path).values()} == {10}
    assert run(tmp_path) == 0
    assert "told apart by ids and labels alone" in told(capsys)


def test_ids_with_other_labels_are_not_paired(tmp_path):
    make_run(tmp_path / "a", 1)
    with pytest.MonkeyPatch.context() as changed:
        changed.setitem(globals(), "labels_of", lambda rows: np.where(rows < 10, (rows + 1) % 10, rows % 10))
        make_run(tmp_path / "b", 2)
    assert {one.n for one in compared(tmp_path).values()} == {7}


@pytest.mark.parametrize(("shares", "direction"), [((0.1, 0.9), 1), ((0.9, 0.1), -1)])
def test_differences_beyond_noise_are_counted(tmp_path, capsys, shares, direction):
    rows = np.arange(60)
    for name, share in zip("ab", shares, strict=True):
        make_run(tmp_path / name, 1, rows, share=share)
    assert {one.direction for one in compared(tmp_path).values()} == {direction}
    assert run(tmp_path) == 0
    counts = "2 | 0 | 0" if direction > 0 else "0 | 2 | 0"
    assert f"| Gray box | 2 | {counts} | {direction * 0.8:+.1f}" in (tmp_path / "page.md").read_text()


def test_the_worst_case_is_compared_too(tmp_path):
    packs = (CLEAN, PGD, WORST)
    first, second = (make_run(tmp_path / name, seed, packs=packs) for name, seed in (("a", 1), ("b", 2)))
    found = {one.cell: one for one in compare_runs(read_run(tmp_path / "a", "a"), read_run(tmp_path / "b", "b"))}
    (worst,) = [one for cell, one in found.items() if cell.setting == "worst"]
    holds = [
        [all(right[key][row] for key in right if key[1] in ("clean", "0.02", "0.06")) for row in ROWS.tolist()]
        for right in (first, second)
    ]
    assert (worst.reference, worst.ours) == (np.mean(holds[0]), np.mean(holds[1]))
    assert (worst.low, worst.high) == pytest.approx(by_counts(holds[1], holds[0]))


# -- the command


def run(root, *more, output="page.md"):
    return main(["compare", str(root / "a"), str(root / "b"), *more, "--output", str(root / output)])


def told(capsys):
    return capsys.readouterr().out.replace("\n", " | ")


def test_a_page_and_a_table(tmp_path, capsys):
    make_run(tmp_path / "a", 1, model="resnet56", systems=(KNN, LARGE))
    make_run(tmp_path / "b", 2, model="resnet20")
    make_run(tmp_path / "c", 3, packs=(CLEAN,))
    assert run(tmp_path, str(tmp_path / "c")) == 0
    said = told(capsys).replace(str(tmp_path) + "/", "")
    assert "b: 3 cells in common: 3 paired on 10 test images" in said
    assert "b: 3 cells of a alone, by size 400" in said
    assert "b: 0 cells of b alone" in said
    assert "c: 1 cell in common" in said
    assert "c: 5 cells of a alone, by size 400; attack pgd; setting gray_box; space raw01; epsilon 0.02, 0.06" in said
    with open(tmp_path / "page.csv", newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert [Path(one["run"]).name for one in lines] == ["b", "b", "b", "c"]
    expected = compared(tmp_path)
    for one in lines[:3]:
        own = expected[int(one["size"]), one["attack"], float(one["epsilon"])]
        for name, value in own.row().items():
            assert one[name] == (f"{value:.6f}" if isinstance(value, float) and name != "epsilon" else str(value))
    text = (tmp_path / "page.md").read_text()
    lines = text.splitlines()
    assert text.count("| knn Web-200 conv_4_1 K = 9 CBW-D soft | pgd | Gray box | 0.06 (raw01) |") == 1
    gray = next(one for one in lines if one.startswith("| Gray box |"))
    directions = [own.direction for (_, attack, _), own in expected.items() if attack == "pgd"]
    assert gray.startswith(f"| Gray box | 2 | {directions.count(1)} | {directions.count(-1)} | {directions.count(0)} |")
    assert run(tmp_path, output="page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    # Heads, settings, cells.
    assert page.count("<tr>") == 2 + 2 + 3


def test_a_long_table_shows_what_differs_most(tmp_path, monkeypatch):
    monkeypatch.setattr("nndefense.report.comparison.SHOWN", 1)
    make_run(tmp_path / "a", 1)
    make_run(tmp_path / "b", 2)
    assert run(tmp_path) == 0
    text = (tmp_path / "page.md").read_text()
    most = max(compared(tmp_path).values(), key=lambda one: abs(one.value) / (one.high - one.low))
    assert text.count("| knn Web") == 1
    assert f"| {most.value:+.3f} [" in text.partition("## Cells")[2]
    assert "The 1 of 3 that differ most" in text
    assert len((tmp_path / "page.csv").read_text().splitlines()) == 4


def test_several_models_are_compared_by_name(tmp_path):
    for name in ("a", "b"):
        for model, seed in (("net", 1), ("other", 2)):
            make_run(tmp_path / name, seed, model=model)
    found = compare_runs(read_run(tmp_path / "a", "a"), read_run(tmp_path / "b", "b"))
    assert [one.model for one in found] == ["net"] * 3 + ["other"] * 3
    assert {one.value for one in found} == {0.0}


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    for name, text in (
        ("compare", "differences, and 95 % intervals"),
        ("init", "a configuration"),
        ("doctor", "packages"),
    ):
        assert f" {name} " in out
        assert text in " ".join(out.split())


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "results/a", 1)
    make_run(tmp_path / "results/b", 2, systems=(LARGE,))
    Path("empty/predictions").mkdir(parents=True)
    for arguments, text in (
        (["a"], "a: stands alone; allowed: two runs or more"),
        (["a", "none"], "none: holds no predictions/; allowed: a folder of results, or a run's name in results"),
        (["a", "results/a"], "results/a: stands there twice; allowed: each run once"),
        (["a", "empty"], "empty: has no answers in predictions/"),
        (["a", "b"], "b: no cell in common with a (3 cells of a alone, by size 200; 3 cells of b alone, by size 400)"),
        (["a", "b", "--output", "x.pdf"], "--output x.pdf: allowed: a name that ends in .html, .md"),
    ):
        assert main(["compare", *arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"error: {text}")
        assert error.count("\n") == 1
    assert not Path("comparison.html").exists()
    assert paired_difference(np.array([True]), np.array([False]))[0] == 1
