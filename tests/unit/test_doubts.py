"""Cause for doubt on its way from files to rows, tables and figures: idle attacks, few voters, copies of queries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.axes.cells import System
from nndefense.axes.queries import CLEAN, Pack
from nndefense.core.arrays import read_array, read_arrays, write_arrays
from nndefense.core.errors import FileFault, InputError
from nndefense.database.copies import NOWHERE
from nndefense.evaluation.accuracy import ACCURACY, DOUBTS, MEASURED
from nndefense.evaluation.doubts import Copies, database_doubts
from nndefense.evaluation.outcomes import read_predictions, read_queries, write_predictions
from nndefense.evaluation.rows import COLUMNS, format_rows, rows_of
from nndefense.report.doubts import IDLE, cell_marks, noted, notes
from nndefense.report.grid import accuracy_text, best_cells
from nndefense.report.piece import Made
from nndefense.report.style import new_figure
from tests.unit.deployed_case import KEPT, LAYERS, SHARDS, K, call, make_system, voting_files

PACK = Pack.parse("raw01/gray_box/pgd/eps-0.02,0.06")
N = 8
SETS = list(PACK)


def system(k, size=100):
    return System("All", size, "conv_4_1", k, "UW", "soft", "knn")


def stored(path, doubts=None, k=(5, 9)):
    predicted = {(one, system(count)): np.zeros(N, dtype=int) for one in SETS for count in k}
    delta = {one: np.full(N, one.epsilon) for one in SETS}
    write_predictions(path, np.zeros(N, dtype=int), np.arange(N), predicted, delta, doubts)
    return read_predictions(path, "conv_4_1", PACK)


# -- files of answers


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=N, max_size=N), st.integers(1, 12), st.integers(1, 12))
def test_a_row_says_how_many_neighbours_it_rests_on(tmp_path_factory, found, few, many):
    path = tmp_path_factory.mktemp("answers") / "eps-0.02,0.06.npz"
    ids = np.array([[*range(count), *[-1] * (12 - count)] for count in found])
    lists = {"ids": np.stack([ids, np.tile(np.arange(12), (N, 1))])[:, None], "near": np.zeros((2, 1, N), bool)}
    ks = sorted({few, many})
    doubts = database_doubts(lists, "All", [100], np.full(N, NOWHERE), PACK, max(ks))
    answers = stored(path, doubts, ks)
    facts = {"dataset": "shapes", "seed": 1, "model": "small"}
    for one, row in zip(answers, rows_of(ACCURACY, answers, facts), strict=True):
        k = one.cell.neighbors
        own = found if one.cell.epsilon == 0.02 else [12] * N
        assert row["voters"] == pytest.approx(np.minimum(own, k).mean())
        assert (cell_marks(row) == "") == all(count >= k for count in own)
    # Nothing is written of the query set whose lists are full.
    assert {name.split("/")[0] for name in doubts} <= {"0.02"}
    assert bool(doubts) == any(count < max(ks) for count in found)


def test_answers_without_doubt_are_written_as_ever(tmp_path):
    full = {"ids": np.zeros((2, 1, N, 9), int), "near": np.zeros((2, 1, N), bool)}
    assert database_doubts(full, "All", [100], np.full(N, 100), PACK, 9) == {}
    answers = stored(tmp_path / "a.npz", {})
    assert all(getattr(one, name) is None for one in answers for name in DOUBTS)
    rows = rows_of(ACCURACY, answers, {"dataset": "shapes", "seed": 1, "model": "small"})
    assert [[row[name] for name in DOUBTS] for row in rows] == [[0, float(row["neighbors"]), 0, 0] for row in rows]
    assert COLUMNS[-10:] == (*MEASURED, *DOUBTS)
    assert format_rows(rows).splitlines()[1].endswith(f",{N},0,5.000000,0,0")


def test_copies_are_those_of_the_database_and_of_the_images_that_are_asked():
    first = np.array([NOWHERE, 3, 60, 99, 100, NOWHERE, 0, 7])
    copies = Copies(np.arange(N) * 10, {"All": first})
    assert [copies.within("All", size) for size in (1, 60, 100, 101)] == [1, 3, 5, 6]
    rows = np.array([70, 20, 0])
    assert copies.of(rows)["All"].tolist() == [7, 60, NOWHERE]
    for stranger in (5, 80):
        with pytest.raises(InputError, match=f"image {stranger} is attacked, and is not among the test images"):
            copies.of(np.array([70, stranger]))
    near = np.zeros((1, 2, N), bool)
    near[0, 1, 0] = True
    lists = {"ids": np.zeros((1, 2, N, 1), int), "near": near}
    found = database_doubts(lists, "All", [4, 100], first, CLEAN, 1)
    assert {name: np.flatnonzero(values).tolist() for name, values in found.items()} == {
        "clean/All/4/copies": [1, 6],
        "clean/All/4/near": [1, 6],
        "clean/All/100/copies": [1, 2, 3, 6, 7],
        "clean/All/100/near": [0, 1, 2, 3, 6, 7],
    }


def test_idle_images_come_with_the_query_sets(tmp_path):
    arrays = {f"{one.member}/delta_raw01": np.full(N, one.epsilon) for one in SETS}
    idle = np.arange(N) < 3
    arrays |= {"0.02/idle": np.zeros(N, bool), "0.06/idle": idle}
    path = tmp_path / "attacked.npz"
    write_arrays(path, labels=np.zeros(N, int), rows=np.arange(N), **arrays)
    found = read_queries(path, PACK)
    assert list(found.doubts) == ["0.06/idle"]
    answers = stored(tmp_path / "answers.npz", found.doubts)
    assert [one.idle is None for one in answers] == [True, True, False, False]
    rows = rows_of(ACCURACY, answers, {"dataset": "shapes", "seed": 1, "model": "small"})
    assert [row["idle"] for row in rows] == [0, 0, 3, 3]
    write_arrays(path, labels=np.zeros(N, int), rows=np.arange(N), **{"clean/images": np.zeros(1)})
    assert read_queries(path, CLEAN).delta[next(iter(CLEAN))].tolist() == [0.0] * N
    with pytest.raises(FileFault, match="lacks"):
        read_queries(path, PACK)


# -- tables and figures


def row(**more):
    values = {"attack": "pgd", "setting": "gray_box", "space": "raw01", "epsilon": 0.06, "features": "conv_4_1"}
    values |= {"defense": "knn", "pool": "All", "size": 2000, "neighbors": 50, "accuracy": 0.55, "n": 1000}
    return {**values, "ci_low": 0.5, "ci_high": 0.6, "idle": 0, "voters": 50.0, "copies": 0, "near": 0, **more}


def test_numbers_without_doubt_look_as_ever():
    assert accuracy_text(row()) == "0.550 [0.500, 0.600]"
    assert notes([row(), row(idle=int(1000 * IDLE) - 1)]) == []
    made = Made([row()], markdown="| a |\n", latex="x\n")
    assert noted(made, {}) is made
    # Rows of something else have no such columns.
    assert notes([{"accuracy": 0.5}]) == []


@pytest.mark.parametrize(("n", "idle", "void"), [(1000, 9, False), (1000, 10, True), (20, 0, False), (20, 1, True)])
def test_a_number_is_void_from_a_point_on(n, idle, void):
    assert (cell_marks(row(n=n, idle=idle)) != "") == void


def test_a_table_marks_cells_and_tells_below():
    rows = [row(idle=523), row(voters=12.25, neighbors=50), row(copies=120, near=123, attack="none", epsilon=0.0)]
    assert accuracy_text(rows[0]).endswith("; void: the attack did nothing to 523 of 1,000 images")
    assert accuracy_text(rows[1]).endswith("0.600]; 12.2 neighbours")
    found = notes([*rows, *rows, row(copies=119, near=119)])
    assert found == [
        "void: pgd, gray_box, Δ = 0.06 (raw01): the attack did nothing to 523 of 1,000 images",
        "few neighbours: All-2k (conv_4_1), K = 50, pgd 0.06: answers rest on 12.25 on average",
        "leak: All-2k has 120 of 1,000 test images, pixel by pixel, and 3 more nearly",
    ]
    made = noted(Made(rows, markdown="# T\n", latex="\\begin\n"), {})
    assert made.markdown.startswith("# T\n\n- void: pgd, gray_box")
    assert made.markdown.count("\n- ") == 3
    assert made.latex.splitlines()[:3] == [f"% {one}" for one in found]
    assert made.latex.endswith("\\begin\n")


def test_a_void_number_is_not_the_best():
    best, second, void = (
        row(accuracy=0.5, ci_low=0.45, ci_high=0.54),
        row(accuracy=0.3, ci_high=0.4),
        row(accuracy=0.9, ci_low=0.85, idle=500),
    )
    cells = {"a": {("x",): best}, "b": {("x",): second}, "c": {("x",): void}}
    assert best_cells(cells, [("x",)]) == {id(best)}


def test_a_figure_tells_below():
    figure, _ = new_figure(3, 3)
    made = noted(Made([row(idle=523)], figure=figure), {})
    assert made.figure.get_supxlabel().startswith("void: pgd, gray_box, Δ = 0.06")
    figure, _ = new_figure(3, 3)
    assert noted(Made([row()], figure=figure), {}).figure.get_supxlabel() == ""
    figure, _ = new_figure(3, 3)
    many = [row(idle=523, epsilon=one / 100) for one in range(9)]
    lines = noted(Made(many, figure=figure), {}).figure.get_supxlabel().splitlines()
    assert lines[-1] == "and 4 more, see the columns idle, voters, copies, near"
    assert max(map(len, lines)) <= 54


def test_what_is_made_of_answers_alone_asks_these(tmp_path):
    path = tmp_path / "predictions/net/crop/raw01/gray_box/pgd/eps-0.02,0.06.npz"
    stored(path, {"0.06/idle": np.arange(N) < 3})
    other = tmp_path / "attacks/raw01/gray_box/pgd/eps-0.02,0.06.npz"
    stored(other, {"0.06/idle": np.arange(N) < 3})
    files = {"predictions": [str(path), str(path)], "queries": [str(other)], "rows": ["predictions/x.csv"]}
    made = noted(Made([{"accuracy": 0.5}], markdown="x\n"), files)
    assert made.markdown.splitlines()[2:] == [
        "- void: pgd, gray_box, Δ = 0.06 (raw01): the attack did nothing to 3 of 8 images"
    ]
    stored(path, {})
    assert noted(Made([{"accuracy": 0.5}], markdown="x\n"), files).markdown == "x\n"


# -- from images to answers


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A system whose fourth query is the database's image 150."""
    return make_system(tmp_path_factory.mktemp("system"))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_copy_is_counted_and_left_out_on_request(root, layer, tmp_path):
    found = read_arrays(root / f"predictions/net/{layer}/clean.npz")
    assert np.flatnonzero(found["clean/Web/200/copies"]).tolist() == [3]
    near = np.flatnonzero(found["clean/Web/200/near"]).tolist()
    assert 3 in near
    assert len(near) < 10
    assert "clean/Web/200/voters" not in found
    for mode in ("copies", "near"):
        left_out = [leave_out(root, layer, shard, mode, tmp_path) for shard in SHARDS]
        rows = np.concatenate([read_array(path)[0] for path in left_out])
        assert 150 in rows
        assert mode == "near" or rows.tolist() == [150]
        lists = searched(root, layer, left_out, tmp_path / mode)
        assert not np.isin(lists["ids"], rows).any()
        assert not lists["near"].any() or mode == "copies"
        predicted = voted(root, layer, left_out, tmp_path / mode)
        assert "clean/Web/200/copies" not in predicted
        # The other answers are those of the same lists without these rows.
        others = np.arange(len(predicted["labels"])) != 3
        name = f"clean@Web/200/{K}/UW/hard"
        assert (predicted[name] == found[name])[others].mean() > 0.9


def leave_out(root, layer, shard, mode, folder):
    near = {"codes": None, "queries": None, "pca": None}
    if mode == "near":
        near = {
            "codes": root / f"codes/{layer}/{shard}.npy",
            "queries": root / f"features/{layer}/queries/clean.npy",
            "pca": root / f"pca/{layer}.npz",
        }
    output = folder / f"{mode}/{layer}/{shard}.npy"
    call(
        "leave_out_copies",
        skipped=root / f"skipped/{layer}/{shard}.npy",
        pixels=root / f"softmax/{shard}.pixels.npy",
        clean=root / "attacks/clean.npz",
        output=output,
        **near,
    )
    return output


def searched(root, layer, left_out, folder):
    lists = [folder / f"{number}.npz" for number in range(len(SHARDS))]
    for shard, skipped, path in zip(SHARDS, left_out, lists, strict=True):
        call(
            "search_span",
            queries=[root / f"features/{layer}/queries/clean.npy"],
            pca=root / f"pca/{layer}.npz",
            shards=[root / f"codes/{layer}/{shard}.npy"],
            skipped=[skipped],
            stops=[int(shard.partition("-")[2])],
            neighbors=KEPT,
            probes=1,
            neighbors_files=[path],
        )
    call("merge_neighbors", spans=lists, sizes=[200], neighbors=KEPT, output=[folder / "merged.npz"])
    return read_arrays(folder / "merged.npz")


def voted(root, layer, left_out, folder):
    call(
        "vote",
        names=["clean"],
        queries=[root / "attacks/clean.npz"],
        pools=["Web"],
        sizes=[[200]],
        neighbors=[folder / "merged.npz"],
        **voting_files(root) | {"left_out": left_out},
        k=[K],
        weightings=["UW"],
        combinations=["soft", "hard"],
        layer=layer,
        predictions=[folder / "predictions.npz"],
    )
    return read_arrays(folder / "predictions.npz")
