"""The index report: when a lost neighbour matters, the table and the figure, and what a configuration asks for."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from nndefense.axes.queries import Pack
from nndefense.config import load_config
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import ConfigError, FileFault
from nndefense.flow.index_report import EXACT_SEARCH, measured_file, measured_indexes, measured_packs
from nndefense.report.figures.fig_index import draw_indexes
from nndefense.report.indexes import COLUMNS, TIMES, read_indexes, sentences, verdict
from nndefense.report.pieces import existing, load_piece
from nndefense.report.style import figure_bytes
from nndefense.report.tables.index_report import as_latex, as_markdown

from .config_cases import SMALL, changed, message

ROOT = Path(__file__).resolve().parents[2]
PGD = "raw01/gray_box/pgd/eps-0.06"


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((-0.009, 0.009), "no"), ((-0.01, 0.005), "undecided"), ((-0.03, 0.02), "undecided"), ((-0.03, -0.02), "yes"),
     ((0.02, 0.03), "yes"), ((-0.008, -0.002), "no"), ((-0.011, -0.002), "yes")],
)  # fmt: skip
def test_what_matters(interval, expected):
    assert verdict(*interval) == expected


# -- the table and the figure

N, PLACES = 1000, 10
PARAMS = {
    "facts": {"dataset": "shapes", "seed": 1, "model": "net"},
    "indexes": ["Flat", "SQ8", "IVF4,Flat (1 probe)"],
    "queries": ["clean", PGD],
    "size": 8000, "pool": "Targeted", "features": "conv_4_1", "neighbors": PLACES, "weighting": "CBW-D",
    "combination": "soft", "epsilon": 0.06, "attack": "pgd", "space": "raw01", "attack_labels": {"pgd": "PGD"},
}  # fmt: skip


def write_index(path, share, correct, speed=1.0, n=N):
    """What `measure_index.py` writes: `share` of ten neighbours found; of each set of images, the first are right."""
    ids = np.tile(np.arange(PLACES), (2, n, 1))
    ids[:, :, round(share * PLACES) :] += 100
    labels = np.ones(n, int)
    classes = np.array([np.where(np.arange(n) < one, 1, 0) for one in correct], dtype=np.int32)
    times = {"train_seconds": 0.5, "add_seconds": 0.25, "bytes_per_vector": 64 * (1 + share)}
    seconds = np.array([[0.1, 0.3, 0.2]] * 2) / speed
    write_arrays(
        path,
        labels=labels,
        rows=np.arange(n),
        ids=ids,
        classes=classes,
        search_seconds=seconds,
        **{name: np.array(value) for name, value in times.items()},
    )
    return str(path)


@pytest.fixture
def measured(tmp_path):
    """The exact search; an index that loses four of ten neighbours and no accuracy; one that loses accuracy."""
    exact = write_index(tmp_path / "exact.npz", 1, (800, 300))
    return [
        exact,
        write_index(tmp_path / "sq.npz", 0.6, (801, 300), 2),
        write_index(tmp_path / "ivf.npz", 0.9, (700, 302), 4),
    ]


def test_recall_that_does_not_matter_is_said_to(measured):
    rows = read_indexes(measured, PARAMS)
    assert [row["matters"] for row in rows] == ["", "", "no", "no", "yes", "no"]
    assert [row["recall"] for row in rows] == pytest.approx([1, 1, 0.6, 0.6, 0.9, 0.9])
    first, second = sentences(rows, PARAMS)
    assert first.startswith("SQ8: what it misses does not matter, less than 0.01 of accuracy. Recall 0.600 (clean), ")
    assert "accuracy +0.001 [-0.002, +0.004] (clean), +0.000 [-0.002, +0.002] (PGD, gray box)" in first
    assert second.startswith("IVF4,Flat (1 probe): what it misses matters. ")


def test_few_images_do_not_tell(tmp_path):
    paths = [write_index(tmp_path / f"{share}.npz", share, (40, 40), n=50) for share in (1, 0.9)]
    rows = read_indexes(paths, PARAMS | {"indexes": ["Flat", "SQ8"]})
    assert sentences(rows, PARAMS)[0].startswith("SQ8: whether what it misses matters, 50 images do not tell. ")


def test_rows_have_their_intervals_and_the_speed(measured):
    row = read_indexes(measured, PARAMS)[4]
    assert set(row) == set(COLUMNS)
    assert (row["attack"], row["setting"], row["epsilon"], row["pool"], row["size"]) == (
        "none",
        "clean",
        0,
        "Targeted",
        8000,
    )
    assert (row["accuracy"], row["n"], row["recall_n"], row["difference"]) == (0.7, N, N, -0.1)
    assert row["difference_low"] < -0.1 < row["difference_high"] < 0
    assert row["ci_low"] < 0.7 < row["ci_high"]
    assert (row["slowest"], row["queries_per_second"], row["fastest"]) == pytest.approx(
        (N / 0.075, N / 0.05, N / 0.025)
    )


def test_other_times_change_columns_of_times_alone(measured, tmp_path):
    before = read_indexes(measured, PARAMS)
    again = write_index(tmp_path / "again.npz", 0.6, (801, 300), 7)
    after = read_indexes([measured[0], again, measured[2]], PARAMS)
    differ = {name for one, other in zip(before, after, strict=True) for name in COLUMNS if one[name] != other[name]}
    assert differ
    assert differ <= set(TIMES)


def test_queries_without_neighbours_count_in_no_recall(measured, tmp_path):
    arrays = read_arrays(measured[0])
    arrays["ids"][0, :3] = -1
    write_arrays(tmp_path / "gaps.npz", **arrays)
    row = read_indexes([str(tmp_path / "gaps.npz"), measured[1]], PARAMS | {"indexes": ["Flat", "SQ8"]})[2]
    assert (row["recall"], row["recall_n"], row["n"]) == (pytest.approx(0.6), N - 3, N)


def test_files_of_other_images_are_named(measured, tmp_path):
    other = write_index(tmp_path / "other.npz", 1, (40, 40), n=50)
    with pytest.raises(FileFault, match=r"other\.npz: is of other images than .*exact\.npz; delete it and rerun"):
        read_indexes([measured[0], other], PARAMS | {"indexes": ["Flat", "SQ8"]})


def test_the_table_says_it(measured):
    rows = read_indexes(measured, PARAMS)
    text = as_markdown(rows, PARAMS)
    assert "| SQ8 | 0.600 [0.600, 0.600] | 0.801 [0.775, 0.825] | +0.001 [-0.002, +0.004] | no |" in text
    assert "| 102 | 0.75 | 10,000 | 2.0 |" in text
    assert "- SQ8: what it misses does not matter" in text
    assert "differ from run to run" in text
    lines = as_latex(rows, PARAMS).splitlines()
    assert sum(line.endswith(r"\\") for line in lines) == 4
    assert lines[0].startswith("% Search in Targeted-8k (conv_4_1) on shapes, n = 1,000 images.")


def test_the_figure_is_drawn(measured):
    rows = read_indexes(measured, PARAMS)
    figure = draw_indexes(rows, PARAMS)
    left, right = figure.axes
    assert [tick.get_text() for tick in right.get_yticklabels()][1:] == [
        "SQ8, 102 bytes", "IVF4,Flat (1 probe), 122 bytes",
    ]  # fmt: skip
    low, high = left.get_xlim()
    assert low <= min(row["slowest"] for row in rows)
    assert high >= max(row["fastest"] for row in rows)
    assert figure_bytes(figure, "pdf").startswith(b"%PDF")


# -- the configuration


def with_report(*indexes):
    return changed(SMALL, ("index",), {"report": list(indexes)})


def test_the_exact_search_comes_first_and_once():
    config = load_config(with_report({"factory": "SQ8"}, {"factory": "Flat"}, {"factory": "IVF4,Flat", "probes": 2}))
    found = measured_indexes(config)
    assert [one.label for one in found] == ["Flat", "SQ8", "IVF4,Flat (2 probes)"]
    place = "<results>/index/small/conv_4_1/All/report"
    assert [measured_file(config, one) for one in found] == [
        f"{place}/Flat.npz", f"{place}/SQ8.npz", f"{place}/IVF4_Flat_2_probes.npz",
    ]  # fmt: skip
    assert list(map(str, measured_packs(config))) == ["clean", PGD]
    assert measured_indexes(load_config(SMALL)) == []


def test_the_report_exists_where_it_is_asked_for():
    config = load_config(with_report({"factory": "SQ8"}))
    piece = load_piece("index_report")
    assert {"index_report", "fig_index"} <= {one.name for one in existing(config)}
    assert not {"index_report", "fig_index"} & {one.name for one in existing(load_config(SMALL))}
    assert piece.files(config) == {
        "measured": [measured_file(config, EXACT_SEARCH), measured_file(config, config.index.report[0])]
    }
    params = piece.params(config)
    assert {**PARAMS, **params}.keys() == PARAMS.keys()
    assert (params["indexes"], params["size"], params["facts"]["model"]) == (["Flat", "SQ8"], 500, "small")


def test_attacks_in_other_boxes_leave_clean_images():
    raw = changed(with_report({"factory": "SQ8"}), ("attacks", "settings"), ["black_box"])
    assert measured_packs(load_config(raw)) == [Pack.parse("clean")]


def test_bits_have_no_report():
    raw = changed(with_report({"factory": "SQ8"}), ("features",), {"layers": ["conv_4_1-RMAC", "conv_4_1"]})
    with pytest.raises(ConfigError, match=r"index\.report: base\.features is compared by bits"):
        load_config(changed(raw, ("base", "features"), "conv_4_1-RMAC"))


def test_the_preset_compares_indexes():
    config = load_config(yaml.safe_load((ROOT / "config/cifar10.yaml").read_text()))
    assert len(measured_indexes(config)) == len({one.word for one in measured_indexes(config)}) > 3


@pytest.mark.parametrize(
    ("indexes", "line"),
    [
        ([{"factory": "SQ8"}, {"factory": "SQ8"}], "index.report: 'SQ8' stands there twice; allowed: each once"),
        ([{"factory": "IVF4,Flat"}, {"factory": "IVF4_Flat"}], "index.report: 'IVF4_Flat' stands there twice"),
        ([{"factory": "SQ8", "probes": 2}], "index.report.0.probes: probes are those of an inverted file"),
        ([{"factory": "IVF4,Flat", "probes": 0}], "index.report.0.probes: 0 is not allowed; allowed: an integer >= 1"),
        ([{"probes": 2}], "index.report.0: missing key 'factory'"),
        (["SQ8"], "index.report.0: 'SQ8' is not allowed"),
    ],
)
def test_mistakes_are_one_line(indexes, line):
    assert message(with_report(*indexes)).startswith(line)
