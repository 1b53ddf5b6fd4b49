"""Predictions become outcomes of the right cells, for the same images everywhere."""

import numpy as np
import pytest

from nndefense.errors import InputError
from nndefense.files import write_arrays
from nndefense.report.outcomes import Cell, outcomes_of, read_outcomes, relevant, split_path

from .synthetic import BASE

LABELS = np.array([0, 1, 2, 1])
ROWS = np.array([3, 5, 8, 9])
NAME = "raw01/black_box/pgd/eps-0.04"
COMMON = {"labels": LABELS, "rows": ROWS}


def test_names_of_predictions_and_queries_make_the_cell():
    predictions = COMMON | {
        "Targeted/500/50/CBW-D/soft": np.array([0, 1, 2, 0], np.int16),
        "undefended": np.array([-1, 0, 2, 1], np.int16),
        "image_quilting": np.array([1, 1, 1, 1], np.int16),
    }
    found = outcomes_of(predictions, "conv_4_1", NAME)
    attack = {"attack": "pgd", "setting": "black_box", "space": "raw01", "epsilon": 0.04}
    knn = Cell("Targeted", 500, "conv_4_1", 50, "CBW-D", "soft", "knn", **attack)
    none, quilting = (Cell("none", 0, "none", 0, "none", "none", name, **attack) for name in ("none", "image_quilting"))
    assert {cell: right.tolist() for cell, right in found.items()} == {
        knn: [True, True, True, False],
        none: [False, False, True, True],
        quilting: [False, True, False, True],
    }


def test_no_class_is_never_right():
    predictions = {"labels": np.array([-1, 0]), "rows": np.arange(2), "undefended": np.array([-1, 0])}
    (right,) = outcomes_of(predictions, "undefended", "clean").values()
    assert right.tolist() == [False, True]


@pytest.mark.parametrize("name", ["Targeted/500/50/CBW-D", "Targeted/many/50/CBW-D/soft", "a/b"])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match=name):
        outcomes_of(COMMON | {name: LABELS}, "conv_4_1", "clean")


def test_paths_name_layer_and_queries():
    root = "results/cifar10/predictions/r20"
    assert split_path(f"{root}/conv_4_1-RMAC/{NAME}.npz", root) == ("conv_4_1-RMAC", NAME)
    assert split_path("predictions/m/undefended/clean.npz", "predictions/m/") == ("undefended", "clean")
    for path in ("predictions/other/conv_4_1/clean.npz", "predictions/m/clean.npz", "predictions/m/conv_4_1/clean.csv"):
        with pytest.raises(InputError, match="FEATURES/QUERIES"):
            split_path(path, "predictions/m")


def test_files_are_read_into_one_mapping(tmp_path):
    base = "Targeted/500/50/CBW-D/soft"
    away = "Targeted/500/10/UW/soft"
    write_arrays(tmp_path / "conv_4_1" / f"{NAME}.npz", **COMMON, **{base: LABELS, away: LABELS})
    write_arrays(tmp_path / "undefended" / "clean.npz", **COMMON, undefended=LABELS[::-1])
    paths = [str(path) for path in sorted(tmp_path.rglob("*.npz"))]
    found = read_outcomes(paths, str(tmp_path), BASE)
    assert {(cell.features, cell.defense, cell.setting, cell.neighbors) for cell in found} == {
        ("conv_4_1", "knn", "black_box", 50),
        ("none", "none", "clean", 0),
    }
    write_arrays(tmp_path / "conv_3_1" / "clean.npz", labels=LABELS, rows=ROWS + 1, **{base: LABELS})
    with pytest.raises(InputError, match=r"conv_3_1/clean\.npz: holds other images"):
        read_outcomes([*paths, str(tmp_path / "conv_3_1" / "clean.npz")], str(tmp_path), BASE)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"features": "conv_2_3"}, True),
        ({"neighbors": 1}, True),
        ({"weighting": "UW", "combination": "hard"}, True),
        ({"features": "conv_4_1-RMAC", "weighting": "UW"}, True),
        ({"features": "conv_2_3", "weighting": "UW"}, False),
        ({"features": "conv_2_3", "neighbors": 1}, False),
        ({"neighbors": 1, "combination": "hard"}, False),
        ({"space": "standardized"}, False),
    ],
)
def test_only_cells_that_a_claim_can_compare_are_kept(change, kept):
    cell = Cell("All", 500, "conv_4_1", 50, "CBW-D", "soft", "knn", "pgd", "gray_box", "raw01", 0.04)
    assert relevant(cell._replace(**change), BASE) is kept
