"""Result rows of certified retrieval: what counts at which radius, abstentions, infinite radii, draws on disk."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from nndefense.certificates.base import Gallery
from nndefense.core.arrays import write_array, write_arrays
from nndefense.core.errors import FileFault, InputError
from nndefense.evaluation.certified import COLUMNS, Certificates, measure_certified
from nndefense.evaluation.guarded import (
    RULES,
    Draws,
    attacked_rows,
    certified_rows,
    flips,
    guard_cell,
    open_galleries,
    share_row,
    smoothed_answers,
)
from nndefense.evaluation.rows import AXES, format_rows, read_rows, write_rows

CELL = guard_cell("unseen", 40, "lda", "mean")
# Right and proven, right and proven further, wrong though proven, abstained, right and proven nothing more than at 0.
CLASSES = np.array([1, 2, 0, -1, 3])
LABELS = np.array([1, 2, 5, 1, 3])
RADII = np.array([0.2, 0.5, 0.9, 0.0, 0.0])


def certificates(classes=CLASSES, labels=LABELS, radius=RADII, **options):
    return Certificates(CELL, classes, labels, np.arange(len(labels)), radius, **options)


def values(rows, name):
    return [row[name] for _, row in rows]


# -- certified


def test_images_count_where_they_are_right_and_proven_so_far():
    rows = measure_certified(certificates(sigma=0.25), [0.0, 0.2, 0.3, 0.5, 0.6])
    assert values(rows, "accuracy") == [0.6, 0.4, 0.2, 0.2, 0.0]
    assert [cell.epsilon for cell, _ in rows] == [0.0, 0.2, 0.3, 0.5, 0.6]
    assert {cell._replace(epsilon=0.0) for cell, _ in rows} == {CELL}
    for _, row in rows:
        interval = binomtest(round(5 * row["accuracy"]), 5).proportion_ci(method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((interval.low, interval.high))
        assert (row["n"], row["sigma"], row["abstained"]) == (5, 0.25, 0.2)
        assert row["mean_radius"] == pytest.approx(0.7 / 5)
        assert set(row) == set(COLUMNS)


def test_an_abstention_is_never_right():
    rows = measure_certified(certificates(np.array([-1, -1]), np.array([-1, 0]), np.zeros(2)), [0.0])
    assert values(rows, "accuracy") == [0.0]
    assert values(rows, "abstained") == [1.0]


def test_an_infinite_radius_counts_everywhere_and_in_the_mean_as_the_largest_number_there_is():
    radius = np.array([0.2, inf, inf, 0.0, 0.1])
    rows = measure_certified(certificates(radius=radius), [0.0, 0.2, 0.8])
    assert values(rows, "accuracy") == [0.6, 0.4, 0.2]
    assert values(rows, "mean_radius") == pytest.approx([(0.2 + 0.8 + 0.1) / 5] * 3)
    # A proven radius may be the largest number; one that is wrong is nothing.
    radius = np.array([2.0, inf, inf, 0.0, 0.1])
    assert values(measure_certified(certificates(radius=radius), [0.5]), "mean_radius") == pytest.approx([4.1 / 5])
    radius = np.array([0.1, 0.1, inf, 0.0, 0.1])
    assert values(measure_certified(certificates(radius=radius), [0.5]), "mean_radius") == pytest.approx([0.3 / 5])
    everywhere = certificates(np.zeros(3), np.zeros(3), np.full(3, inf))
    assert values(measure_certified(everywhere, [0.0, 1.0]), "mean_radius") == [1.0, 1.0]
    assert values(measure_certified(everywhere, [0.0]), "mean_radius") == [0.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_rows_agree_with_a_plain_loop_and_fall_with_the_radius(seed, n):
    rng = np.random.default_rng(seed)
    labels, classes = rng.integers(0, 3, n), rng.integers(-1, 3, n)
    radius = np.where(classes < 0, 0.0, rng.choice([0.0, 0.1, 0.25, 0.7], n))
    radii = sorted(rng.choice([0.0, 0.1, 0.2, 0.25, 0.5, 0.7, 1.0], 4, replace=False).tolist())
    rows = measure_certified(certificates(classes, labels, radius), radii)
    for at, (_, row) in zip(radii, rows, strict=True):
        count = sum(c == y and c >= 0 and r >= at for c, y, r in zip(classes, labels, radius, strict=True))
        assert row["accuracy"] == count / n
        assert row["ci_low"] <= row["accuracy"] <= row["ci_high"]
    assert values(rows, "accuracy") == sorted(values(rows, "accuracy"), reverse=True)
    right = [r for c, y, r in zip(classes, labels, radius, strict=True) if c == y]
    assert rows[0][1]["mean_radius"] == pytest.approx(sum(right) / n)


@pytest.mark.parametrize(
    ("change", "radii", "message"),
    [
        ({"radius": np.array([0.1, -0.1, 0, 0, 0])}, [0.1], "radii >= 0"),
        ({"radius": np.array([0.1, np.nan, 0, 0, 0])}, [0.1], "radii >= 0"),
        ({"radius": np.zeros(4)}, [0.1], r"\(n,\) arrays, got \(5,\), \(5,\), \(4,\)"),
        ({"classes": np.zeros((5, 1))}, [0.1], r"\(n,\) arrays, got \(5, 1\), \(5,\), \(5,\)"),
        ({}, [-0.5], "radii >= 0"),
        ({}, [np.nan], "radii >= 0"),
        ({"classes": np.zeros(0), "labels": np.zeros(0), "radius": np.zeros(0)}, [0.1], "an image, got 0 images"),
    ],
)
def test_certificates_that_do_not_fit_are_refused(change, radii, message):
    with pytest.raises(InputError, match=message) as caught:
        measure_certified(certificates(**change), radii)
    assert "\n" not in str(caught.value)


# -- retrieval


def write_draws(path, draws, **facts):
    about = {"first": 2, "draws": 3, "queries": 4, "sigma": 0.25} | facts
    write_array(path, draws, {name: value for name, value in about.items() if value is not None})
    return path


def test_draws_are_told_apart_by_query_and_use(tmp_path):
    stored = np.arange(40, dtype=np.float16).reshape(20, 2) / 100
    draws = Draws(write_draws(tmp_path / "draws.npy", stored))
    assert (len(draws), draws.first, draws.count, draws.sigma) == (4, 2, 3, 0.25)
    assert isinstance(draws.embeddings, np.memmap)
    parts = list(draws)
    assert len(parts) == 4
    for place, (first, others) in enumerate(parts):
        np.testing.assert_array_equal(first, stored[5 * place : 5 * place + 2])
        np.testing.assert_array_equal(others, stored[5 * place + 2 : 5 * place + 5])
    np.testing.assert_array_equal([first for first, _ in draws], [first for first, _ in parts])


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"queries": 3}, r"draws\.npy: has 20 rows for 3 queries; delete it and rerun"),
        ({"sigma": None}, r"draws\.npy: does not say its sigma, so it holds no draws; delete it and rerun"),
        ({"first": None}, r"draws\.npy: does not say its first"),
    ],
)
def test_files_that_hold_no_draws_are_refused(tmp_path, facts, message):
    with pytest.raises(FileFault, match=message):
        Draws(write_draws(tmp_path / "draws.npy", np.zeros((20, 2), dtype=np.float16), **facts))


def test_answers_are_of_all_draws_by_their_mean_and_by_their_vote(tmp_path):
    """Three copies of five are near vector 1, the mean is next to vector 2."""
    gallery = Gallery(np.array([[0.0, 0.1], [0.0, -0.2], [0.9, 0.0]]), np.array([4, 1, 2]))
    split = [[0.1, -0.2], [0.1, -0.2], [0.1, -0.2], [1, 0], [1, 0]]
    alike = [[0.0, 0.2]] * 5
    # What the first draws say is outvoted.
    outvoted = [[0.9, 0.0]] * 2 + [[0.0, 0.3]] * 3
    stored = np.array([*split, *alike, *outvoted], dtype=np.float16)
    answers = smoothed_answers(Draws(write_draws(tmp_path / "draws.npy", stored, queries=3)), gallery)
    assert answers["vote"].tolist() == [1, 4, 4]
    assert answers["mean"].tolist() == [2, 4, 4]


def test_galleries_of_both_models_come_with_their_labels(tmp_path):
    base, smoothed = np.random.default_rng(1).random((2, 3, 4))
    write_arrays(tmp_path / "g.npz", base=base, smoothed=smoothed, labels=np.array([3, 1, 1]), nonnegative=[True])
    one, other, nonnegative = open_galleries(tmp_path / "g.npz")
    np.testing.assert_array_equal(one.vectors, base)
    np.testing.assert_array_equal(other.vectors, smoothed)
    assert one.labels.tolist() == other.labels.tolist() == [3, 1, 1]
    assert nonnegative is True


def test_rows_say_what_answers_and_to_which_images():
    for rule, defense in RULES.items():
        cell = guard_cell("shapes", 500, "metric", rule)
        assert (cell.pool, cell.size, cell.features, cell.neighbors) == ("shapes", 500, "metric", 1)
        assert cell.defense == defense
        assert (cell.attack, cell.setting, cell.space, cell.epsilon) == ("none", "clean", "none", 0.0)
    assert guard_cell("a", 1, "b", "vote", attack="metric", epsilon=0.5).attack == "metric"
    cell, row = share_row(CELL, np.array([True, False, True]), 0.5)
    assert cell == CELL
    assert (row["accuracy"], row["n"], row["sigma"]) == (2 / 3, 3, 0.5)
    assert np.isnan([row["abstained"], row["mean_radius"]]).all()
    assert set(row) == set(COLUMNS)
    with pytest.raises(InputError, match="n > 0"):
        share_row(CELL, np.zeros(0, dtype=bool), 0.5)


def test_certified_rows_of_a_file(tmp_path):
    arrays = {"classes": CLASSES, "labels": LABELS, "rows": np.arange(5), "radius": RADII, "sigma": [0.5]}
    write_arrays(tmp_path / "cdf.npz", **arrays)
    rows = certified_rows(guard_cell("unseen", 40, "lda", "mean"), "cdf", tmp_path / "cdf.npz", [0.0, 0.3])
    assert [(cell.attack, cell.setting, cell.space, cell.epsilon) for cell, _ in rows] == [
        ("cdf", "certified", "l2", 0.0),
        ("cdf", "certified", "l2", 0.3),
    ]
    assert values(rows, "accuracy") == [0.6, 0.2]
    assert values(rows, "sigma") == [0.5, 0.5]
    write_arrays(tmp_path / "cdf.npz", **{name: values for name, values in arrays.items() if name != "radius"})
    with pytest.raises(FileFault, match=r"cdf\.npz: lacks radius"):
        certified_rows(CELL, "cdf", tmp_path / "cdf.npz", [0.0])


def test_an_image_that_a_smaller_radius_broke_stays_broken(tmp_path):
    labels = np.array([0, 1, 2, 3])
    write_arrays(
        tmp_path / "attacked.npz",
        labels=labels,
        radii=np.array([0.1, 0.5]),
        **{"mean/clean": np.array([0, 1, 0, 3]), "mean/classes": np.array([[0, 2, 2, 3], [0, 1, 2, 1]])},
    )
    rows = attacked_rows(CELL, tmp_path / "attacked.npz", "mean", 0.25)
    assert [(cell.attack, cell.setting, cell.space, cell.epsilon) for cell, _ in rows] == [
        ("metric", "white_box", "l2", radius) for radius in (0.0, 0.1, 0.5)
    ]
    # Image 2 was wrong from the start, image 1 comes back, image 3 falls last.
    assert values(rows, "accuracy") == [0.75, 0.5, 0.25]
    assert values(rows, "n") == [4, 4, 4]


def test_changed_answers_are_counted_by_decision():
    stored = {
        "rule": np.array(["mean", "mean", "vote", "vote", "vote"]),
        "certified": np.array([1, 2, 1, 1, 0]),
        "answered": np.array([1, 0, 1, 0, 1]),
    }
    assert flips(stored, "mean") == (1, 2)
    assert flips(stored, "vote") == (2, 3)
    assert flips(stored, "base") == (0, 0)


def test_rows_of_all_kinds_stand_in_one_file(tmp_path):
    facts = {"dataset": "shapes", "seed": 1, "model": "small"}
    found = [share_row(CELL, np.array([True, False]), 0.25), *measure_certified(certificates(), [0.1])]
    rows = [{**facts, **cell._asdict(), **row} for cell, row in found]
    write_rows(tmp_path / "rows.csv", rows, (*AXES, *COLUMNS))
    clean, certified = read_rows(tmp_path / "rows.csv", None)
    assert (clean["accuracy"], certified["accuracy"]) == (0.5, 0.4)
    assert np.isnan(clean["mean_radius"])
    assert certified["mean_radius"] == pytest.approx(0.14)
    assert "inf" not in format_rows(rows, (*AXES, *COLUMNS))
