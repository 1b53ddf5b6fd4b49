"""Intervals against SciPy; rows and files of answers against their contract."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from nndefense.axes.ball import RAW
from nndefense.axes.cells import Cell, System
from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import GRAY
from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.evaluation import KINDS
from nndefense.evaluation.accuracy import ACCURACY
from nndefense.evaluation.base import Kind
from nndefense.evaluation.intervals import wilson_interval
from nndefense.evaluation.outcomes import place_of, read_outcomes, read_predictions, split_place, write_predictions
from nndefense.evaluation.rows import (
    AXES,
    COLUMNS,
    accuracy_row,
    collect_rows,
    format_rows,
    measured_rows,
    read_rows,
    rows_of,
    write_rows,
)

PACK = Pack(RAW, GRAY, "pgd", (0.02, 0.06))
VOTES = System("All", 500, "conv_4_1", 50, "CBW-D", "soft", "knn")
PLAIN = {"dataset": "shapes", "seed": 1, "model": "net", **Cell.of(System.plain("none"), *CLEAN)._asdict()}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_equals_scipy(n, share, level):
    correct = round(share * n)
    expected = binomtest(correct, n).proportion_ci(confidence_level=level, method="wilson")
    assert wilson_interval(correct, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_every_wilson_interval_of_few_images_is_printed_as_scipys():
    # Without its p-value, which takes a hundred times as long.
    result = partial(type(binomtest(1, 2)), alternative="two-sided", statistic=0.5, pvalue=1.0)
    for n in [*range(1, 201), 400, 1000]:
        for correct in range(n + 1):
            expected = result(k=correct, n=n).proportion_ci(method="wilson")
            found = wilson_interval(correct, n)
            assert [f"{one:.6f}" for one in found] == [f"{one:.6f}" for one in (expected.low, expected.high)]
            assert found == pytest.approx((expected.low, expected.high), rel=0, abs=1e-15)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_impossible_counts(correct, n):
    with pytest.raises(InputError):
        wilson_interval(correct, n)


def test_an_accuracy_row_has_exactly_the_columns():
    row = accuracy_row([1, 2, -1, 0], [1, 2, -1, 1], [0.0, 0.1, 0.2, 0.1], **PLAIN)
    assert tuple(row) == COLUMNS
    assert len(COLUMNS) == 24
    assert row["accuracy"] == 0.5
    assert row["n"] == 4
    assert row["delta_mean"] == pytest.approx(0.1)
    assert row["delta_max"] == 0.2
    assert (row["ci_low"], row["ci_high"]) == wilson_interval(2, 4)
    assert row["dataset"] == "shapes"


def test_an_accuracy_row_refuses_arrays_that_do_not_fit():
    with pytest.raises(InputError, match="arrays"):
        accuracy_row([1, 2], [1], **PLAIN)
    with pytest.raises(InputError, match="NaN"):
        accuracy_row([1], [1], [np.nan], **PLAIN)


def written(path, pack=PACK, rows=(3, 5, 9)):
    """Answers of two systems to a pack, all different."""
    classes = iter(range(100))
    systems = [VOTES, System.plain("none")]
    predicted = {(one, system): np.array([next(classes) for _ in rows]) for one in pack for system in systems}
    delta = {one: np.full(len(rows), one.epsilon) for one in pack}
    write_predictions(path, np.array([1, 1, 2]), np.array(rows), predicted, delta)
    return predicted


def test_answers_read_back(tmp_path):
    predicted = written(tmp_path / "a.npz")
    found = read_predictions(tmp_path / "a.npz", "conv_4_1", PACK)
    assert [one.cell for one in found] == [Cell.of(system, queries) for queries, system in predicted]
    for one, classes in zip(found, predicted.values(), strict=True):
        np.testing.assert_array_equal(one.classes, classes)
        assert one.delta.tolist() == [one.cell.epsilon] * 3
    assert found[0].correct.tolist() == [False, True, True]


def test_answers_of_another_pack_are_refused(tmp_path):
    written(tmp_path / "a.npz")
    with pytest.raises(FileFault, match=r"a\.npz: holds answers to '0.06'"):
        read_predictions(tmp_path / "a.npz", "conv_4_1", Pack(RAW, GRAY, "pgd", (0.02,)))


def test_answers_of_many_files_are_of_the_same_images(tmp_path):
    place = tmp_path / "net/conv_4_1"
    written(place / f"{PACK}.npz")
    written(place / "clean.npz", CLEAN)
    paths = sorted(place.rglob("*.npz"))
    assert len(read_outcomes(paths, tmp_path / "net")) == 4 + 2
    written(place / "clean.npz", CLEAN, rows=(3, 5, 10))
    with pytest.raises(InputError, match="other images"):
        read_outcomes(paths, tmp_path / "net")


def test_places_of_files():
    assert place_of(f"r/net/conv_4_1/{PACK}.npz", "r/net") == ("conv_4_1", PACK)
    stored = f".snakemake/storage/fs/volume/r/net/conv_4_1/{PACK}.npz"
    assert place_of(stored, "r/net") == ("conv_4_1", PACK)
    assert place_of("r/net/none/clean.csv", "r/net") == ("none", CLEAN)
    with pytest.raises(InputError, match="is not r/net/LAYER/QUERIES"):
        place_of("elsewhere/none/clean.npz", "r/net")
    with pytest.raises(ConfigError):
        place_of("r/net/none/dirty.npz", "r/net")
    assert split_place(f"r/predictions/old/predictions/net/conv_4_1/{PACK}.npz") == ("net", "conv_4_1", PACK)
    for path in ("r/answers/net/none/clean.npz", "r/predictions/net/clean.npz"):
        with pytest.raises(InputError, match="is not predictions/MODEL/LAYER/QUERIES"):
            split_place(path)


def test_rows_read_back_also_of_other_kinds(tmp_path):
    written(tmp_path / "a.npz")
    answers = read_predictions(tmp_path / "a.npz", "conv_4_1", PACK)
    facts = {"dataset": "shapes", "seed": 1, "model": "net"}
    rows = rows_of(ACCURACY, answers, facts)
    write_rows(tmp_path / "rows.csv", rows)
    assert [row["accuracy"] for row in read_rows(tmp_path / "rows.csv")] == pytest.approx(
        [row["accuracy"] for row in rows], abs=1e-6
    )
    kind = Kind(("verdict", "seen"), lambda found: [{"verdict": "fine", "seen": len(one.labels)} for one in found])
    write_rows(tmp_path / "kind.csv", rows_of(kind, answers, facts), (*AXES, *kind.columns))
    (first, *_) = read_rows(tmp_path / "kind.csv", kind)
    assert (first["verdict"], first["seen"], first["size"]) == ("fine", 3, 500)
    assert read_rows(tmp_path / "kind.csv", None)[0] == first
    with pytest.raises(FileFault, match="has columns"):
        read_rows(tmp_path / "kind.csv")
    with pytest.raises(FileFault, match="has columns"):
        collect_rows([tmp_path / "rows.csv", tmp_path / "kind.csv"], None)


def test_rows_that_are_measured_are_those_that_were_written(tmp_path):
    facts, paths = {"dataset": "shapes", "seed": 1}, []
    for system, pack in (("none", CLEAN), ("conv_4_1", PACK)):
        paths.append(tmp_path / f"predictions/net/{system}/{pack}.npz")
        written(paths[-1], pack, rows=range(3))
        answers = read_predictions(paths[-1], system, pack)
        write_rows(tmp_path / f"{system}.csv", rows_of(ACCURACY, answers, facts | {"model": "net"}))
    # A third has more digits than a CSV keeps.
    assert measured_rows(paths[1], ACCURACY, facts) == read_rows(tmp_path / "conv_4_1.csv")
    assert {row["accuracy"] for row in read_rows(tmp_path / "conv_4_1.csv")} == {0.0, 0.666667}
    found = collect_rows(paths, ACCURACY, facts)
    assert found == collect_rows([tmp_path / "none.csv", paths[1]], ACCURACY, facts)
    assert format_rows(found) == (tmp_path / "none.csv").read_text() + "".join(
        (tmp_path / "conv_4_1.csv").read_text().splitlines(keepends=True)[1:]
    )


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: text.replace("0.060000", "0.06x"),
                                    lambda text: "x" + text, lambda text: ""])  # fmt: skip
def test_damaged_rows_are_refused(tmp_path, damage):
    row = accuracy_row([1], [1], [0.06], **PLAIN)
    write_rows(tmp_path / "rows.csv", [row])
    (tmp_path / "rows.csv").write_text(damage((tmp_path / "rows.csv").read_text()))
    with pytest.raises(FileFault, match=r"rows\.csv: "):
        read_rows(tmp_path / "rows.csv")


def test_every_registered_kind_loads():
    assert all(isinstance(entry.load(), Kind) for entry in KINDS.values())
