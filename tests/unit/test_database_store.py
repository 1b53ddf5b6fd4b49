"""The softmax store against plain indexing, in memory and on disk, where damage has to be noticed as rows are read."""

import io
import os
import subprocess
import sys
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.arrays import stream_array, write_array, write_sealed
from nndefense.core.errors import FileFault, InputError
from nndefense.core.seals import read_seal
from nndefense.database import stored_softmax
from nndefense.database.row_checks import row_checks
from nndefense.database.softmax_store import ShardRows, SoftmaxStore, to_half
from nndefense.database.stored_softmax import RowReader, open_stores


def rows_and_weights(n, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), size=n).astype(np.float16), rng.random((n, 2)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_take_equals_indexing(seed):
    rng = np.random.default_rng(seed)
    softmax, weights = rows_and_weights(30)
    edges = np.array([0, *sorted(rng.choice(np.arange(1, 30), size=3, replace=False)), 30])
    parts = [(a, b, softmax[a:b], weights[a:b]) for a, b in pairwise(edges)]
    store = SoftmaxStore([parts[i] for i in rng.permutation(4)])
    ids = rng.integers(-1, 30, size=(4, 6))
    taken, taken_weights, valid = store.take(ids)
    np.testing.assert_array_equal(valid, ids >= 0)
    np.testing.assert_array_equal(taken, np.where(valid[..., None], softmax[ids].astype(np.float32), 0))
    np.testing.assert_array_equal(taken_weights, np.where(valid[..., None], weights[ids], 0))
    assert taken.dtype == taken_weights.dtype == np.float32


def test_memory_maps_and_missing_neighbours(tmp_path):
    softmax, weights = rows_and_weights(8)
    np.save(tmp_path / "softmax.npy", softmax)
    mapped = np.load(tmp_path / "softmax.npy", mmap_mode="r", allow_pickle=False)
    store = SoftmaxStore([(100, 108, mapped, weights)])
    taken, taken_weights, valid = store.take(np.array([-1, -1]))
    assert not taken.any()
    assert not taken_weights.any()
    assert not valid.any()
    np.testing.assert_array_equal(store.take(np.array(107))[0], softmax[7].astype(np.float32))


@pytest.mark.parametrize("bad", [-2, 10, 19, 30, 99])
def test_ids_outside_of_the_store_are_refused(bad):
    softmax, weights = rows_and_weights(10)
    store = SoftmaxStore([(0, 10, softmax, weights), (20, 30, softmax, weights)])
    with pytest.raises(FileFault, match=f"id {bad} "):
        store.take(np.array([3, bad, 25]))


def test_shards_that_do_not_fit_are_refused():
    softmax, weights = rows_and_weights(10)
    with pytest.raises(FileFault, match="expected"):
        SoftmaxStore([(0, 11, softmax, weights)])
    with pytest.raises(FileFault, match="overlaps"):
        SoftmaxStore([(0, 10, softmax, weights), (9, 19, softmax, weights)])
    with pytest.raises(FileFault, match="5-15"):
        SoftmaxStore([(-5, 5, softmax, weights), (5, 15, softmax[:, :4], weights)][1:] * 2)
    with pytest.raises(FileFault, match="no shards"):
        SoftmaxStore([])


def test_half_precision_where_it_keeps_the_sum():
    softmax = np.random.default_rng(0).dirichlet(np.full(1000, 0.01), size=50).astype(np.float32)
    half = to_half(softmax)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.sum(axis=1, dtype=np.float64), 1, atol=1e-3)


def test_full_precision_where_half_loses_mass():
    # float16 has steps of 6e-8 down there, so a million rounded shares of 1e-6 miss the sum.
    softmax = np.full((1, 1_000_000), 1e-6, dtype=np.float32)
    assert abs(softmax.astype(np.float16).sum(dtype=np.float64) - 1) > 1e-3
    assert to_half(softmax) is softmax


@pytest.mark.parametrize("bad", [np.nan, -0.5, 0.9])
def test_rows_that_are_no_distribution_are_refused(bad):
    softmax = np.array([[1.0, 0.0], [bad, 0.5]], dtype=np.float32)
    with pytest.raises(InputError, match="1 softmax rows are no distribution, the first is row 1"):
        to_half(softmax)


def test_codes_of_either_kind_by_their_ids():
    rng = np.random.default_rng(0)
    for codes in (rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 256, (30, 3), dtype=np.uint8)):
        rows = ShardRows([(20, 30, codes[20:]), (0, 12, codes[:12])])
        assert rows.rows == 22
        (found,) = rows.rows_of(np.array([[25, 3], [-1, 11]]))
        assert found.dtype == codes.dtype
        np.testing.assert_array_equal(found, [[codes[25], codes[3]], [np.zeros_like(codes[0]), codes[11]]])
        with pytest.raises(FileFault, match="id 15 is not in the code store"):
            rows.rows_of(np.array([15]))


@pytest.mark.parametrize("many", [False, True])
def test_every_number_of_half_precision_is_taken_as_it_is(many):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    store = ShardRows([(0, 100, halves[:100]), (100, 256, halves[100:].astype(np.float32) if many else halves[100:])])
    ids = np.random.default_rng(1).permutation(256)[: None if many else 255]
    (found,) = store.rows_of(ids)
    np.testing.assert_array_equal(found.view(np.uint32), halves[ids].astype(np.float32).view(np.uint32))


def test_hundreds_of_shards_make_one_store():
    softmax, weights = rows_and_weights(400)
    store = SoftmaxStore([(row, row + 1, softmax[row : row + 1], weights[row : row + 1]) for row in range(400)])
    np.testing.assert_array_equal(store.take(np.array([399, 0, 7]))[0], softmax[[399, 0, 7]].astype(np.float32))


# -- on disk


def write_shard(folder, start, softmax, weights, pool="All"):
    """Files of a shard: rows, weights and checksums."""
    about = {"pool": pool, "start": start, "stop": start + len(softmax), "model": "m"}
    arrays = {"softmax": softmax, "weights": weights, "checks": row_checks(softmax, first=start)}
    paths = [folder / f"{start}.{name}.npy" for name in arrays]
    for path, array in zip(paths, arrays.values(), strict=True):
        write_array(path, array, about)
    return paths


def flip(path, byte, bit):
    with open(path, "r+b") as handle:
        handle.seek(byte)
        value = handle.read(1)[0]
        handle.seek(byte)
        handle.write(bytes([value ^ 1 << bit]))


@pytest.mark.parametrize("shape", [(60, 5), (60,), (60, 2, 3)])
@pytest.mark.parametrize(("near", "span"), [(0, 1), (0, 1 << 20), (40, 1 << 20), (40, 64), (1 << 14, 1 << 20)])
def test_rows_of_a_file_in_any_order(tmp_path, monkeypatch, shape, near, span):
    monkeypatch.setattr(stored_softmax, "NEAR_BYTES", near)
    monkeypatch.setattr(stored_softmax, "SPAN_BYTES", span)
    rng = np.random.default_rng(0)
    array = rng.normal(size=shape).astype(np.float16)
    write_array(tmp_path / "a.npy", array, {"pool": "All"})
    reader = RowReader(tmp_path / "a.npy")
    assert (reader.shape, reader.dtype, reader.about) == (shape, np.float16, {"pool": "All"})
    places = [rng.integers(0, 60, size=n) for n in (0, 1, 5, 40, 200)]
    for one in (*places, np.arange(60), np.arange(59, -1, -1), np.arange(0, 60, 3), np.array([3, 3, 5])):
        np.testing.assert_array_equal(reader[one], array[one])
    for wrong in (-1, 60):
        with pytest.raises(InputError, match="of 60"):
            reader[np.array([5, wrong])]


def test_what_is_read_between_rows_is_not_held(tmp_path):
    write_array(tmp_path / "a.npy", np.ones((1 << 20, 2), np.float32))
    reader, places = RowReader(tmp_path / "a.npy"), np.arange(0, 1 << 20, 300)
    tracemalloc.start()
    reader[places]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_readers_keep_no_file_open(tmp_path):
    write_array(tmp_path / "a.npy", np.ones((5, 3)))
    before = len(os.listdir("/dev/fd"))
    readers = [RowReader(tmp_path / "a.npy") for _ in range(50)]
    assert all(reader[np.array([4])].all() for reader in readers)
    assert len(os.listdir("/dev/fd")) == before


def test_files_that_hold_no_rows_or_end_early_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    for array in (np.array(3.0), np.ones((4, 3), order="F")):
        content = io.BytesIO()
        np.save(content, array)
        write_sealed(path, content.getvalue(), {})
        with pytest.raises(FileFault, match="is not a plain array of rows"):
            RowReader(path)
    write_sealed(path, b"text", {})
    with pytest.raises(FileFault, match="is not a plain array"):
        RowReader(path)
    write_array(path, np.ones((500, 3)))
    reader, whole = RowReader(path), path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(FileFault, match="truncated"):
        RowReader(path)
    path.write_bytes(whole[:5000])
    with pytest.raises(FileFault, match="was cut short while it was read"):
        reader[np.array([499])]
    path.unlink()
    with pytest.raises(FileFault, match=r"cannot be read \(No such file"):
        reader[np.array([0])]


@pytest.mark.parametrize("verified", [False, True])
def test_stores_on_disk_equal_indexing(tmp_path, verified):
    softmax, weights = rows_and_weights(90)
    shards = [write_shard(tmp_path, a, softmax[a:b], weights[a:b]) for a, b in ((40, 90), (0, 25), (25, 40))]
    other = write_shard(tmp_path, 500, softmax[::-1], weights[::-1], pool="Targeted")
    columns = [*zip(*shards, other, strict=True)]
    stores = open_stores(*columns[: 3 if verified else 2])
    assert list(stores) == ["All", "Targeted"]
    ids = np.random.default_rng(2).integers(-1, 90, size=(6, 8))
    for one in (ids, ids[:1, :1], np.full((2, 3), -1), np.arange(90)):
        expected = SoftmaxStore([(0, 90, softmax, weights)]).take(one)
        for found, wanted in zip(stores["All"].take(one), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(stores["Targeted"].take(np.array([589]))[0], softmax[:1].astype(np.float32))


def test_a_damaged_row_is_named_where_it_is_read(tmp_path):
    softmax, weights = rows_and_weights(50)
    first, second = (write_shard(tmp_path, a, softmax[a : a + 25], weights[a : a + 25]) for a in (0, 25))
    flip(second[0], read_seal(second[0])["bytes"] - 1, 0)
    store = open_stores(*zip(first, second, strict=True))["All"]
    np.testing.assert_array_equal(store.take(np.arange(49))[0], softmax[:49].astype(np.float32))
    with pytest.raises(FileFault, match=r"25\.softmax\.npy: row 24 is damaged; delete it and rerun"):
        store.take(np.array([[3, 49]]))


def test_no_flipped_bit_of_a_softmax_file_changes_what_is_read(tmp_path):
    softmax, weights = rows_and_weights(6)
    paths = write_shard(tmp_path, 100, softmax, weights)
    size, end = len(paths[0].read_bytes()), read_seal(paths[0])["bytes"]
    expected, noticed = softmax.astype(np.float32), 0
    for byte in range(size):
        for bit in range(8) if byte < end else [byte % 7]:
            flip(paths[0], byte, bit)
            try:
                found = open_stores(*([path] for path in paths))["All"].take(np.arange(100, 106))[0]
            except FileFault:
                noticed += 1
            else:
                # Such as spaces of the header, or facts that are not used here.
                assert byte < end - softmax.nbytes or byte >= end
                np.testing.assert_array_equal(found, expected)
            flip(paths[0], byte, bit)
    assert noticed > 8 * softmax.nbytes


@pytest.mark.parametrize("file", [1, 2])
def test_damaged_weights_and_checksums_are_noticed_at_once(tmp_path, file):
    paths = write_shard(tmp_path, 0, *rows_and_weights(6))
    flip(paths[file], read_seal(paths[file])["bytes"] - 3, 5)
    with pytest.raises(FileFault, match=rf"{paths[file].name}: has a wrong checksum"):
        open_stores(*([path] for path in paths))


@pytest.mark.parametrize("file", [1, 2])
def test_files_of_another_shard_are_refused(tmp_path, file):
    paths = write_shard(tmp_path, 0, *rows_and_weights(6))
    others = write_shard(tmp_path, 6, *rows_and_weights(6))
    paths[file] = others[file]
    with pytest.raises(FileFault, match=rf"{others[file].name}: is of start 6, .*0\.softmax\.npy of start 0"):
        open_stores(*([path] for path in paths))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="resident memory is read from /proc")
def test_memory_does_not_follow_the_file(tmp_path):
    shape, about = (64, 1 << 19), {"pool": "All", "start": 0, "stop": 64}
    row = np.full((1, shape[1]), 2.0**-19, dtype=np.float16)
    with stream_array(tmp_path / "s.npy", shape, np.float16, about) as append:
        for _ in range(shape[0]):
            append(row)
    checks = np.concatenate([row_checks(row, number) for number in range(64)])
    write_array(tmp_path / "c.npy", checks, about)
    write_array(tmp_path / "w.npy", np.ones((64, 2), np.float32), about)
    code = (
        "import re, numpy; from nndefense.database.stored_softmax import open_stores\n"
        # Of this process alone: the figure of `resource` begins with its parent's.
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "store = open_stores(['s.npy'], ['w.npy'], ['c.npy'])['All']\n"
        "held = peak()\n"
        "for number in range(64): assert store.take(numpy.array([number]))[0].sum() == 1\n"
        "print(peak() - held)"
    )
    environment = {"PYTHONPATH": os.path.abspath("scripts"), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert int(run.stdout) < 24 << 10
