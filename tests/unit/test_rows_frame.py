"""Result rows as a DataFrame: what is in the file and nothing else, typed, chosen by value, of a run that is whole."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

import nndefense
from nndefense.axes.cells import Cell, System
from nndefense.axes.queries import Pack
from nndefense.core import whose
from nndefense.core.errors import FileFault, InputError
from nndefense.core.files import file_sha256, read_bytes, write_ledger, write_text
from nndefense.evaluation import KINDS, SUMMARIES
from nndefense.evaluation.frame import frame_of
from nndefense.evaluation.rows import AXES, INTEGERS, format_rows, read_rows, write_rows
from tests.unit.synthetic import accuracy_rows

REPOSITORY = Path(__file__).resolve().parents[2]
SYSTEMS = [
    System.plain("none"),
    System("Web", 1000, "conv_4_1", 50, "CBW-D", "soft", "knn"),
    System("All", 500, "conv_3_1", 9, "UW", "hard", "knn"),
]
PACKS = ["clean", "raw01/gray_box/pgd/eps-0.02,0.06", "raw01/adaptive-knn/worst/eps-0.06"]
MEASURED = {"n": 40, "idle": 2, "copies": 0, "near": 1, "unique": 3, "strongest": "gray_box/pgd"}


@pytest.fixture(autouse=True)
def no_run():
    yield
    whose.begin(None)


def rows_of(kind):
    """Every system on every query set, all measured values different."""
    columns = {**KINDS, **SUMMARIES}[kind].load().columns
    cells = [Cell.of(system, queries) for name in PACKS for queries in Pack.parse(name) for system in SYSTEMS]
    facts = {"dataset": "shapes", "seed": 7, "model": "net"}
    return [
        {**facts, **cell._asdict()}
        | {name: MEASURED.get(name, (at + place / 100) / 13) for at, name in enumerate(columns)}
        for place, cell in enumerate(cells)
    ], (*AXES, *columns)


@pytest.fixture
def run(tmp_path):
    """The rows of a run, made by its jobs of a file that lies there."""
    root = tmp_path / "results" / "mine"
    whose.begin(root)
    write_text(root / "source.md", "first")
    write_ledger()
    for kind in (*KINDS, *SUMMARIES):
        whose.begin(root)
        rows, columns = rows_of(kind)
        write_rows(root / f"{kind}.csv", rows, columns)
        write_ledger()
    whose.begin(None)
    return root


@pytest.mark.parametrize("kind", [*KINDS, *SUMMARIES])
def test_a_frame_has_what_the_file_has(run, kind):
    frame = nndefense.rows(run, kind)
    rows, columns = rows_of(kind)
    assert frame.to_dict("records") == read_rows(run / f"{kind}.csv", None)
    assert tuple(frame.columns) == columns
    assert frame.index.tolist() == list(range(len(rows)))
    # Nothing is lost on the way.
    assert format_rows(frame.to_dict("records"), columns) == (run / f"{kind}.csv").read_text()


def test_columns_are_typed_and_names_in_the_order_of_the_file(run):
    frame = nndefense.rows(run, "accuracy_worst")
    names = [name for name in AXES if name not in (*INTEGERS, "epsilon")]
    assert [name for name in frame if frame[name].dtype == "category"] == [*names, "strongest"]
    assert [name for name in frame if frame[name].dtype == "int64"] == [*INTEGERS, "n", "idle", "copies", "near"]
    others = frame.drop(columns=[*names, "strongest", *INTEGERS, "n", "idle", "copies", "near"])
    assert set(map(str, others.dtypes)) == {"float64"}
    # No alphabet: `Web` comes before `All`, and the clean images first.
    assert frame["pool"].cat.categories.tolist() == ["none", "Web", "All"]
    assert frame["setting"].cat.categories.tolist() == ["clean", "gray_box", "adaptive-knn"]
    table = frame.pivot_table(index="pool", columns="setting", values="accuracy", observed=True)
    assert table.index.tolist() == ["none", "Web", "All"]


def test_a_frame_says_where_it_is_from(run, monkeypatch):
    monkeypatch.chdir(run.parents[1])
    place = "results/mine"
    expected = {"run": place, "kind": "accuracy", "file": f"{place}/accuracy.csv"}
    expected["sha256"] = file_sha256(run / "accuracy.csv")
    assert nndefense.rows(place).attrs == expected
    assert nndefense.rows(place, defense="knn").attrs == expected
    assert nndefense.rows(Path(place), "attack_breaks").attrs["kind"] == "attack_breaks"


def test_values_that_are_missing():
    columns = (*AXES, "transfer", "radius", "said", "n")
    row = rows_of("accuracy")[0][0]
    values = [(float("nan"), "", "", 4), (0.5, 2, "x", 5), (0.25, 3.5, "y", 6)]
    frame = frame_of([row | dict(zip(columns[-4:], one, strict=True)) for one in values], columns)
    assert frame["transfer"].isna().tolist() == frame["radius"].isna().tolist() == [True, False, False]
    assert frame["said"].isna().tolist() == [True, False, False]
    assert frame["radius"].tolist()[1:] == [2.0, 3.5]
    assert [str(frame[name].dtype) for name in columns[-4:]] == ["float64", "float64", "category", "int64"]
    # `none` is a value, not a missing one.
    assert frame["pool"].tolist() == ["none"] * 3
    large = frame_of([row | {"seed": 2**70}], AXES)
    assert large["seed"].tolist() == [2**70]
    nothing = frame_of([], columns)
    assert tuple(nothing.columns) == columns
    assert [str(nothing[name].dtype) for name in ("pool", "size", "epsilon", "transfer")] == [
        "category", "int64", "float64", "float64",
    ]  # fmt: skip


def test_rows_are_chosen_by_value(run):
    rows = read_rows(run / "accuracy.csv")

    def chosen(**equal):
        return nndefense.rows(run, **equal).to_dict("records")

    assert chosen(defense="knn") == [row for row in rows if row["defense"] == "knn"]
    assert chosen(size=500, epsilon=0.06) == [row for row in rows if (row["size"], row["epsilon"]) == (500, 0.06)]
    gray = [row for row in rows if row["defense"] == "knn" and row["setting"] in ("gray_box", "clean")]
    # One of a list may be missing.
    assert chosen(defense="knn", setting=["gray_box", "clean", "black_box"]) == gray
    assert chosen(setting={"gray_box", "clean"}, defense=("knn",)) == gray
    assert chosen(n=40) == rows
    assert len(gray) == 6


def test_what_was_chosen_is_numbered_anew_without_other_categories(run):
    frame = nndefense.rows(run, pool=["Web", "All"], setting="gray_box")
    assert frame.index.tolist() == [0, 1, 2, 3]
    assert frame["pool"].cat.categories.tolist() == ["Web", "All"]
    assert frame["setting"].cat.categories.tolist() == ["gray_box"]
    # Values that there are, but not together.
    nothing = nndefense.rows(run, pool="none", defense="knn")
    assert len(nothing) == 0
    assert tuple(nothing.columns) == rows_of("accuracy")[1]


def test_mistakes_are_one_line(run, monkeypatch):
    for equal, text in (
        ({"defence": "knn"}, f"rows: 'defence' is no column; allowed: {', '.join(rows_of('accuracy')[1])}"),
        ({"defense": "kn"}, "rows: no defense is kn; allowed: none, knn"),
        ({"size": "500"}, "rows: no size is 500; allowed: 0, 1000, 500"),
        ({"defense": "knn", "epsilon": [0.03, 0.05]}, "rows: no epsilon is 0.03, 0.05; allowed: 0.0, 0.02, 0.06"),
    ):
        with pytest.raises(InputError) as caught:
            nndefense.rows(run, **equal)
        assert str(caught.value) == text
    monkeypatch.setattr("nndefense.evaluation.frame.SHOWN", 5)
    with pytest.raises(InputError, match=r"allowed: 0\.\d+(, 0\.\d+){4} and 7 more$"):
        nndefense.rows(run, accuracy=2)
    with pytest.raises(InputError, match="rows: kind 'certified' is unknown; allowed: accuracy, accuracy_worst, att"):
        nndefense.rows(run, "certified")


def test_rows_that_are_not_there_say_what_makes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, file in (
        ((), "results/accuracy.csv"),
        (("results/a b", "attack_breaks"), "results/a b/attack_breaks.csv"),
    ):
        quoted = f"'{file}'" if " " in file else file
        with pytest.raises(FileFault) as caught:
            nndefense.rows(*arguments)
        assert str(caught.value) == f"{file}: is not there; to make it: snakemake {quoted} --cores all"


def test_a_damaged_file_is_refused(run):
    path = run / "accuracy.csv"
    text = path.read_text()
    path.write_text(text.replace("0.060000", "0.050000").replace("Web", "All"))
    with pytest.raises(
        FileFault, match=r"accuracy\.csv: has another checksum than .*seals/accuracy\.csv\.json records"
    ):
        nndefense.rows(run)
    path.write_text(text)
    assert len(nndefense.rows(run)) == 12
    (run / "attack_breaks.csv").write_bytes((run / "accuracy.csv").read_bytes())
    with pytest.raises(FileFault, match=r"attack_breaks\.csv: "):
        nndefense.rows(run, "attack_breaks")


def test_rows_of_files_that_have_changed_since_are_refused(run):
    whose.begin(run)
    read_bytes(run / "source.md")
    rows, columns = rows_of("accuracy")
    write_rows(run / "accuracy.csv", rows, columns)
    write_ledger()
    whose.begin(None)
    assert len(nndefense.rows(run)) == 12
    whose.begin(run)
    write_text(run / "source.md", "second")
    write_ledger()
    whose.begin(None)
    with pytest.raises(FileFault, match=r"accuracy\.csv.*was made of another .*source\.md.* than is there"):
        nndefense.rows(run)


def test_a_copy_without_seals_is_read_if_it_has_the_columns(run, tmp_path):
    (tmp_path / "accuracy.csv").write_bytes((run / "accuracy.csv").read_bytes())
    pandas.testing.assert_frame_equal(nndefense.rows(tmp_path), nndefense.rows(run))
    with open(tmp_path / "accuracy.csv", newline="") as handle:
        lines = [line[:-1] for line in csv.reader(handle)]
    (tmp_path / "accuracy.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    with pytest.raises(FileFault, match="has columns"):
        nndefense.rows(tmp_path)


def test_pandas_is_imported_where_rows_are_asked_for(run):
    code = "import sys, nndefense, nndefense.evaluation.frame\nbefore = 'pandas' in sys.modules\n"
    code += f"nndefense.rows({str(run)!r})\nprint(before, 'pandas' in sys.modules, 'torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY / "scripts")},
        check=True,
    )
    assert found.stdout.split() == ["False", "True", "False"]


def test_the_example_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = accuracy_rows(n=50)
    write_rows("results/accuracy.csv", made)
    rows, columns = rows_of("accuracy_worst")
    write_rows("results/accuracy_worst.csv", rows, columns)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/extending.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "nndefense.rows(" in block]
    *lines, pivot, worst = example.splitlines()
    names = {"nndefense": nndefense}
    exec("\n".join([*lines, f"table = {pivot}", worst]), names)
    assert len(names["rows"]) == len(made)
    table = names["table"]
    assert table.index.names == ["features", "pool", "size"]
    chosen = {"features": "conv_3_1", "pool": "All", "size": 500, "setting": "gray_box", "epsilon": 0.06}
    (one,) = nndefense.rows(**chosen, attack="pgd", neighbors=50, weighting="CBW-D", combination="soft")["accuracy"]
    assert table.loc["conv_3_1", "All", 500]["gray_box", "raw01", 0.06] == one
    assert names["worst"].to_dict("records") == read_rows("results/accuracy_worst.csv", None)
