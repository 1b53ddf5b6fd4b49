"""Files of a database that do not belong together, or are damaged, are refused by name."""

import numpy as np
import pytest

from nndefense.core.arrays import write_array
from nndefense.core.errors import FileFault, InputError
from nndefense.database.engines.held import hold
from nndefense.database.engines.stored import Span, search_span
from nndefense.database.engines.trained import train
from tests.unit.span_cases import ABOUT, drawn, write_indexes, write_shards


@pytest.fixture
def shards(tmp_path):
    """Files of three shards, of which each holds a row without a code."""
    return write_shards(tmp_path, drawn(300), (100, 200), np.array([5, 150, 299]))


@pytest.mark.parametrize("name", ABOUT)
def test_a_file_of_something_else_is_refused(shards, tmp_path, name):
    paths, rows = shards
    other, others = write_shards(tmp_path / "other", drawn(100), (), np.array([100]), first=100, **{name: "x"})
    with pytest.raises(FileFault, match=rf"other/100-200.npy: was made with {name} x, expected {ABOUT[name]}; delete"):
        Span([paths[0], other[0], paths[2]], rows)
    with pytest.raises(FileFault, match=rf"/0-100.npy: was made with {name} {ABOUT[name]}, expected y; delete"):
        Span(paths, rows, **{name: "y"})
    if name != "pca":
        with pytest.raises(FileFault, match=rf"other/skipped/100-200.npy: was made with {name} x, expected"):
            Span(paths, [rows[0], others[0], rows[2]])


def test_a_gap_and_another_order_are_refused(shards):
    paths, rows = shards
    with pytest.raises(FileFault, match=r"/200-300.npy: rows from 200 do not follow those up to 100"):
        Span(paths[::2], rows[::2])
    with pytest.raises(FileFault, match=r"/0-100.npy: rows from 0 do not follow those up to 200"):
        Span([paths[1], paths[0]], [rows[1], rows[0]])
    with pytest.raises(FileFault, match=r"skipped/0-100.npy: was made with start 0, expected 100"):
        Span([paths[1]], [rows[0]])


def test_features_and_other_files_are_no_codes(shards, tmp_path):
    paths, rows = shards
    features = {name: value for name, value in ABOUT.items() if name != "pca"} | {"start": 0, "stop": 100}
    write_array(tmp_path / "features.npy", drawn(100), features)
    with pytest.raises(FileFault, match=r"features.npy: was made with pca None, expected p"):
        Span([tmp_path / "features.npy"], rows[:1], pca="p")
    (tmp_path / "text.npy").write_text("codes")
    with pytest.raises(FileFault, match=r"text.npy: is truncated or was not written by this workflow"):
        Span([tmp_path / "text.npy"], rows[:1])
    with pytest.raises(FileFault, match=r"gone.npy: cannot be read"):
        Span(paths[:1], [tmp_path / "gone.npy"])


@pytest.mark.parametrize("kind", ["codes", "skipped", "index"])
def test_damage_is_named(shards, tmp_path, kind):
    paths, rows = shards
    trained = train(drawn(300), "IVF2,Flat")
    indexes = write_indexes(tmp_path, trained, paths, rows)
    damaged = {"codes": paths, "skipped": rows, "index": indexes}[kind][1]
    content = bytearray(damaged.read_bytes())
    content[200 if kind != "skipped" else 130] ^= 1
    damaged.write_bytes(content)
    message = rf"{'skipped/' if kind == 'skipped' else ''}{damaged.name}: has a wrong checksum"
    with pytest.raises(FileFault, match=message):
        search_span(Span(indexes if kind == "index" else paths, rows), [drawn(3)], 4, [300])
    with pytest.raises(FileFault, match=message):
        list(hold([Span(paths, rows)]) if kind != "index" else hold([], [Span(indexes, rows)]))


def test_a_damaged_header_is_named(shards):
    paths, rows = shards
    content = bytearray(paths[0].read_bytes())
    content[1] ^= 1
    paths[0].write_bytes(content)
    for use in (lambda span: search_span(span, [drawn(3)], 4, [300]), lambda span: list(hold([span]))):
        with pytest.raises(FileFault, match=r"/0-100.npy: is not a plain array"):
            use(Span(paths, rows))


def test_indexes_are_listed_where_shards_end(shards, tmp_path):
    paths, rows = shards
    span = Span(write_indexes(tmp_path, train(drawn(300), "SQ8"), paths, rows), rows)
    found = search_span(span, [drawn(3)], 4, [100, 300])
    assert found[100][0][0].max() < 100
    with pytest.raises(InputError, match="no shard ends at row 150"):
        search_span(span, [drawn(3)], 4, [150, 300])
