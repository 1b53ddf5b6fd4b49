"""Files of answers become outcomes of the cells that claims compare, for the same images everywhere."""

import numpy as np
import pytest

from nndefense.axes.cells import Cell, System
from nndefense.axes.queries import CLEAN, Pack
from nndefense.core.errors import InputError
from nndefense.evaluation.outcomes import read_outcomes, write_predictions
from nndefense.report.claims.outcomes import cells_of, outcome_rows, outcomes_of, relevant
from nndefense.report.tables.claims import PIECE

from .synthetic import PARAMS

LABELS = np.array([0, 1, 2, 1])
ROWS = np.array([3, 5, 8, 9])
PACK = Pack.parse("raw01/black_box/pgd/eps-0.02,0.06")


def system(features: str = "conv_4_1", neighbors: int = 50, weighting: str = "CBW-D") -> System:
    return System("Targeted", 500, features, neighbors, weighting, "soft", "knn")


def write(path, pack, systems, rows=ROWS) -> None:
    predicted = {(queries, one): classes for queries in pack for one, classes in systems.items()}
    write_predictions(path, LABELS, rows, predicted, {queries: np.zeros(len(LABELS)) for queries in pack})


def test_files_are_read_into_one_mapping(tmp_path):
    votes = {system(): LABELS, system(neighbors=10, weighting="UW"): LABELS}
    write(tmp_path / "conv_4_1" / f"{PACK}.npz", PACK, votes)
    write(tmp_path / "none" / "clean.npz", CLEAN, {System.plain("none"): np.array([-1, 0, 2, 1])})
    paths = [str(path) for path in sorted(tmp_path.rglob("*.npz"))]
    found = outcomes_of(read_outcomes(paths, str(tmp_path)), PARAMS)
    assert {(cell.features, cell.defense, cell.setting, cell.neighbors, cell.epsilon) for cell in found} == {
        ("conv_4_1", "knn", "black_box", 50, 0.02),
        ("conv_4_1", "knn", "black_box", 50, 0.06),
        ("none", "none", "clean", 0, 0.0),
    }
    assert found[Cell.of(System.plain("none"), *CLEAN)].tolist() == [False, False, True, True]
    rows = outcome_rows(found)
    assert cells_of(rows) == tuple(found)
    assert rows[0]["pool"] == "Targeted"
    write(tmp_path / "conv_3_1" / "clean.npz", CLEAN, {system("conv_3_1"): LABELS}, ROWS + 1)
    with pytest.raises(InputError, match=r"conv_3_1/clean\.npz: holds other images"):
        read_outcomes([*paths, str(tmp_path / "conv_3_1" / "clean.npz")], str(tmp_path))


def test_claims_are_a_piece_made_of_answers(tmp_path):
    write(tmp_path / "conv_4_1" / f"{PACK}.npz", PACK, {system(): LABELS, system(weighting="UW"): LABELS})
    params = PARAMS | {"dataset": "shapes", "model": "net", "resamples": 20, "root": str(tmp_path), "seed": 1}
    made = PIECE.make({"predictions": [str(tmp_path / "conv_4_1" / f"{PACK}.npz")]}, params)
    assert {row["n"] for row in made.rows if row["verdict"] != "not tested"} <= {4}
    assert "Dataset shapes, model net, n = 4 test images, 20 resamples of them." in made.markdown
    assert made.latex.count("\\\\\n") == len({row["id"] for row in made.rows}) + 1


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
        ({"space": "linf"}, True),
    ],
)
def test_only_cells_that_a_claim_can_compare_are_kept(change, kept):
    cell = Cell("All", 500, "conv_4_1", 50, "CBW-D", "soft", "knn", "pgd", "gray_box", "raw01", 0.04)
    assert relevant(cell._replace(**change), PARAMS) is kept
