"""Tables of any length: what is read is what was written, whatever the blocks, and no more than is asked for."""

import os
from itertools import pairwise

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from nndefense.core import tables
from nndefense.core.audit import check_table
from nndefense.core.errors import FileFault, InputError
from nndefense.core.tables import TableReader, stream_table


def columns(start: int, stop: int) -> dict[str, np.ndarray]:
    rows = np.arange(start, stop)
    return {
        "row": rows * 3,
        "tag": np.array([f"tag {row % 3}" for row in rows], dtype=object),
        "name": np.array([f"näme/{row}" for row in rows], dtype=object),
    }


def record(row: int) -> bytes:
    return f"{row}".encode() * (row % 4)


def write(path, rows, cuts=(), records=True):
    cuts = [0, *sorted(cuts), rows]
    with stream_table(path, repeated=("tag", "absent")) as table:
        for start, stop in pairwise(cuts):
            block = range(start, stop)
            table.append(columns(start, stop), [record(row) for row in block] if records else None)
        table.facts["rows"] = table.rows
    return path


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(tables, "ROWS", 7)


@pytest.mark.usefixtures("small_groups")
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.data())
def test_rows_are_found_whatever_the_blocks(tmp_path_factory, rows, data):
    path = tmp_path_factory.mktemp("tables") / "a.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "ROWS", 7)
        cuts = data.draw(st.lists(st.integers(0, rows), max_size=5))
        table = TableReader(write(path, rows, cuts))
        chosen = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=12)) if rows else [], dtype=np.int64)
        expected = columns(0, rows)
        assert len(table) == rows
        assert table.facts == {"rows": rows}
        assert table.records(chosen) == [record(row) for row in chosen]
        found = table.take(chosen, "name", "row")
        assert list(found) == ["name", "row"]
        for name, values in found.items():
            assert values.tolist() == expected[name][chosen].tolist()
        blocks = list(table.blocks())
        assert [len(block["row"]) for block in blocks] == [min(7, rows - start) for start in range(0, rows, 7)]
        for name, values in expected.items():
            assert [value for block in blocks for value in block[name].tolist()] == values.tolist()
        check_table(path)


@pytest.mark.usefixtures("small_groups")
def test_equal_content_gives_equal_bytes_and_other_readers_see_a_plain_table(tmp_path):
    first, second = write(tmp_path / "a.parquet", 30, [4, 11]), write(tmp_path / "b.parquet", 30)
    assert first.read_bytes() == second.read_bytes()
    read = parquet.read_table(first)
    assert read.column_names == ["row", "tag", "name"]
    assert read.schema.types == [pyarrow.int64(), pyarrow.string(), pyarrow.string()]
    assert read["name"].to_pylist() == columns(0, 30)["name"].tolist()
    assert tables.read_table(first, "tag")["tag"].tolist() == columns(0, 30)["tag"].tolist()
    assert "RLE_DICTIONARY" in parquet.read_metadata(first).row_group(0).column(1).encodings
    assert "RLE_DICTIONARY" not in parquet.read_metadata(first).row_group(0).column(2).encodings


@pytest.mark.usefixtures("small_groups")
def test_only_row_groups_that_are_asked_for_are_read(tmp_path, monkeypatch):
    table = TableReader(write(tmp_path / "a.parquet", 70))
    asked, read = [], table._group
    monkeypatch.setattr(table, "_group", lambda group, names: asked.append(group) or read(group, names))
    table.take(np.array([36, 8, 35, 12]), "row")
    assert asked == [1, 5]
    table.records(np.array([3, 69]))
    assert asked == [1, 5]
    next(table.blocks("tag"))
    assert asked == [1, 5, 0]


@pytest.mark.usefixtures("small_groups")
def test_values_that_recur_are_one_object(tmp_path):
    found = TableReader(write(tmp_path / "a.parquet", 30)).take(np.arange(7), "tag", "name")
    assert len(set(map(id, found["tag"]))) == 3
    assert len(set(map(id, found["name"]))) == 7


@pytest.mark.usefixtures("small_groups")
def test_every_flipped_bit_of_rows_and_records_is_noticed(tmp_path):
    path = write(tmp_path / "a.parquet", 30)
    whole = path.read_bytes()
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    messages = []
    for offset in range(4, end, 3):
        content = bytearray(whole)
        content[offset] ^= 16
        path.write_bytes(content)
        try:
            check_table(path)
        except FileFault as error:
            messages.append(str(error))
        else:
            # Headers of pages hold statistics, which nobody reads.
            read = TableReader(path)
            assert read.records(np.arange(30)) == [record(row) for row in range(30)]
            for name, values in read.take(np.arange(30)).items():
                assert values.tolist() == columns(0, 30)[name].tolist()
    assert len(messages) > 0.7 * len(range(4, end, 3))
    assert all(one.startswith(f"{path}: ") and one.endswith("delete it and rerun") for one in messages)


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("share", [0.0, 0.4, 0.999])
def test_truncated_and_absent_tables_get_one_line(tmp_path, share):
    path = write(tmp_path / "a.parquet", 30)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(FileFault, match=r"a\.parquet: is damaged or not a parquet file .* delete it and rerun"):
        TableReader(path)
    path.unlink()
    with pytest.raises(FileFault, match=r"a\.parquet.*delete it and rerun"):
        TableReader(path)


@pytest.mark.usefixtures("small_groups")
def test_records_of_two_rows_that_changed_places_are_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    with stream_table(path) as table:
        table.append({"row": np.arange(2)}, [b"one.jpg", b"two.jpg"])
    content, (start,) = path.read_bytes(), TableReader(path)._sections
    first, second = content[start : start + 12], content[start + 12 : start + 24]
    path.write_bytes(content[:start] + second + first + content[start + 24 :])
    with pytest.raises(FileFault, match="wrong checksum at row 1"):
        TableReader(path).records(np.array([1]))


def test_tables_without_records_say_so(tmp_path):
    tables.write_table(tmp_path / "a.parquet", {"row": np.arange(3)})
    table = TableReader(tmp_path / "a.parquet")
    assert table.facts == {}
    assert table.take(np.array([2, 0]), "row")["row"].tolist() == [2, 0]
    with pytest.raises(FileFault, match="does not say where its rows lie"):
        table.records(np.array([1]))
    with pytest.raises(FileFault, match="lacks column tag"):
        table.take(np.array([1]), "tag")
    for read in (table.records, lambda rows: table.take(rows, "row")):
        with pytest.raises(InputError, match=r"rows 0 to 3; allowed: 0 to 2"):
            read(np.array([0, 3]))


def test_wrong_records_are_refused_and_leave_no_file(tmp_path, monkeypatch):
    def append(records):
        with stream_table(tmp_path / "a.parquet") as table:
            table.append({"row": np.arange(3)}, records)

    monkeypatch.setattr(tables, "MAX_RECORD", 20)
    wrong = {"2 records of 3 rows; allowed: one a row": [b""] * 2, "row 1 has": [b"", b"x" * 21, b""]}
    for words, records in wrong.items():
        with pytest.raises(InputError, match=words):
            append(records)
    assert not os.listdir(tmp_path)


def test_row_groups_have_their_length(tmp_path):
    with stream_table(tmp_path / "a.parquet") as table:
        for start in range(0, 200_000, 50_000):
            table.append({"row": np.arange(start, start + 50_000)})
    about = parquet.read_metadata(tmp_path / "a.parquet")
    lengths = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
    assert lengths == [65_536, 65_536, 65_536, 3_392]
