"""Files that know whose they are: refused in another's place, from an earlier run, and made of what is gone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nndefense.core import arrays, files, tables, whose
from nndefense.core.audit import audit, files_below
from nndefense.core.errors import FileFault
from nndefense.core.seals import read_seal


@pytest.fixture(autouse=True)
def no_run() -> Iterator[None]:
    yield
    whose.begin(None)


def job(root: Path, output: str, *inputs: str, value: int = 0) -> None:
    """Make an array of others, as a job of a run does."""
    whose.begin(root)
    total = sum(int(arrays.read_array(root / name)[0][0]) for name in inputs)
    arrays.write_array(root / output, np.array([total + value]))
    files.write_ledger()


def value_of(root: Path, name: str) -> int:
    whose.begin(root)
    return int(arrays.read_array(root / name)[0][0])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A root, two that are made of it, and one that is made of these."""
    root = tmp_path / "results"
    job(root, "model.npy", value=1)
    job(root, "features/0-60.npy", "model.npy", value=10)
    job(root, "features/60-120.npy", "model.npy", value=20)
    job(root, "lists/merged.npy", "features/0-60.npy", "features/60-120.npy")
    return root


def test_a_whole_run_is_accepted(run):
    assert value_of(run, "lists/merged.npy") == 32
    found = audit(files_below(run), run)
    assert not found.faults
    assert not found.unknown


def test_what_was_read_is_what_a_file_was_made_of(run):
    seal = whose_seal(run / "lists/merged.npy")
    assert sorted(seal["made_of"]) == ["features/0-60.npy", "features/60-120.npy"]
    assert seal["place"] == seal["job"] == "lists/merged.npy"


def whose_seal(path: Path) -> dict:
    whose.begin(None, compare=False)
    return read_seal(path)


def test_a_sibling_in_its_place_is_refused(run):
    (run / "features/0-60.npy").write_bytes((run / "features/60-120.npy").read_bytes())
    with pytest.raises(FileFault, match=r"features/0-60\.npy: is features/60-120\.npy, put into another's place"):
        value_of(run, "features/0-60.npy")


@pytest.mark.parametrize("name", ["model.npy", "features/0-60.npy", "lists/merged.npy"])
def test_an_earlier_version_put_back_is_refused_and_named(run, name):
    kept = (run / name).read_bytes()
    for output, value, inputs in (
        ("model.npy", 2, ()),
        ("features/0-60.npy", 10, ("model.npy",)),
        ("features/60-120.npy", 20, ("model.npy",)),
        ("lists/merged.npy", 0, ("features/0-60.npy", "features/60-120.npy")),
    ):
        job(run, output, *inputs, value=value)
    (run / name).write_bytes(kept)
    with pytest.raises(FileFault, match=rf"{name}: is not the one that was made last"):
        value_of(run, name)
    found = audit(files_below(run), run).faults
    assert [*found] == [str(run / name)]


def test_without_ledgers_what_others_were_made_of_tells(run):
    kept = (run / "model.npy").read_bytes()
    job(run, "model.npy", value=2)
    for path in (run / "seals").rglob("*.json"):
        path.unlink()
    with pytest.raises(FileFault, match=r"features/0-60\.npy: was made of another model\.npy than is there"):
        value_of(run, "features/0-60.npy")
    (run / "model.npy").write_bytes(kept)
    assert value_of(run, "features/0-60.npy") == 11


def test_the_file_that_is_wrong_is_named_and_not_what_was_made_of_it(run):
    """Features of another run's model are read by nobody but the list that was made of the right ones."""
    other = run.parent / "other/results"
    job(other, "model.npy", value=5)
    job(other, "features/0-60.npy", "model.npy", value=10)
    (run / "features/0-60.npy").write_bytes((other / "features/0-60.npy").read_bytes())
    for path in (run / "seals").rglob("*.json"):
        path.unlink()
    with pytest.raises(FileFault, match=r"features/0-60\.npy: was made of another model\.npy than is there"):
        value_of(run, "lists/merged.npy")


def test_what_is_gone_compares_with_nothing(run):
    (run / "features/0-60.npy").unlink()
    assert value_of(run, "lists/merged.npy") == 32


def test_results_may_be_moved_to_another_depth(run):
    moved = run.parent / "a/b/c"
    moved.parent.mkdir(parents=True)
    run.rename(moved)
    assert value_of(moved, "lists/merged.npy") == 32
    whose.begin(None)
    assert int(arrays.read_array(moved / "lists/merged.npy")[0][0]) == 32
    assert not audit(files_below(moved), moved).faults


def test_a_file_without_a_place_is_no_file_of_a_run(run):
    whose.begin(None)
    arrays.write_array(run / "model.npy", np.array([1]))
    assert int(arrays.read_array(run / "model.npy")[0][0]) == 1
    with pytest.raises(FileFault, match=r"model\.npy: does not say whose it is"):
        value_of(run, "model.npy")


def test_text_has_a_receipt(run):
    whose.begin(run)
    files.write_text(run / "tables/a.csv", "n\n40\n")
    assert files.read_csv(run / "tables/a.csv", ["n"], "rows") == [{"n": "40"}]
    (run / "tables/a.csv").write_text("n\n4\n")
    with pytest.raises(FileFault, match=r"a\.csv: has another checksum than .*seals/tables/a\.csv\.json"):
        files.read_csv(run / "tables/a.csv", ["n"], "rows")
    assert str(run / "tables/a.csv") in audit(files_below(run), run).faults


def test_verify_goes_on_after_a_fault_and_says_what_it_does_not_know(run):
    (run / "model.npy").write_bytes(b"")
    (run / "features/60-120.npy").write_bytes((run / "features/0-60.npy").read_bytes())
    (run / "notes.txt").write_text("mine")
    found = audit(files_below(run), run)
    assert sorted(found.faults) == [str(run / "features/60-120.npy"), str(run / "model.npy")]
    assert found.unknown == [str(run / "notes.txt")]


def test_tables_and_json_know_whose_they_are(run):
    whose.begin(run)
    tables.write_table(run / "pools/All.parquet", {"row": np.arange(4)})
    tables.write_table(run / "pools/Targeted.parquet", {"row": np.arange(2)})
    files.write_json(run / "images/a/set.json", {"rows": 4})
    files.write_json(run / "images/b/set.json", {"rows": 2})
    for one, other, read in (
        ("pools/All.parquet", "pools/Targeted.parquet", tables.read_table),
        ("images/a/set.json", "images/b/set.json", files.read_json),
    ):
        whose.begin(run)
        assert read(run / one)
        (run / one).write_bytes((run / other).read_bytes())
        whose.begin(run)
        with pytest.raises(FileFault, match=f"{one}: is {other}, put into another's place"):
            read(run / one)
