"""Sealed arrays block by block: the rows of the whole file, in memory of a block, and no damage that goes unnoticed."""

import io
import tracemalloc

import numpy as np
import pytest

from nndefense.core.arrays import stream_array, write_array, write_sealed
from nndefense.core.blocks import read_blocks
from nndefense.core.errors import FileFault, InputError
from nndefense.core.seals import read_seal


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("shape", [(7,), (12, 4), (5, 2, 3), (0, 3), (4, 0)])
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_blocks_hold_the_rows_in_their_order(tmp_path, dtype, shape, rows):
    array = (np.random.default_rng(1).standard_normal(shape) * 100).astype(dtype)
    write_array(tmp_path / "a.npy", array)
    blocks = list(read_blocks(tmp_path / "a.npy", rows))
    assert [len(block) for block in blocks] == [min(rows, len(array) - first) for first in range(0, len(array), rows)]
    assert all(block.dtype == dtype for block in blocks)
    np.testing.assert_array_equal(np.concatenate([array[:0], *blocks]), array)


def test_streams_are_read_as_they_were_written(tmp_path):
    array = np.random.default_rng(2).standard_normal((50, 3)).astype(np.float16)
    with stream_array(tmp_path / "a.npy", array.shape, array.dtype, {"pca": "p"}) as append:
        for block in np.array_split(array, 7):
            append(block)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(tmp_path / "a.npy", 9, columns=3))), array)


def test_blocks_are_kept_as_they_were(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(10))
    first, second = read_blocks(tmp_path / "a.npy", 5)
    assert first.tolist() == [0, 1, 2, 3, 4]
    assert second.tolist() == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("rows", [7, 100])
def test_every_flipped_bit_is_noticed_before_the_last_block(tmp_path, rows):
    path = tmp_path / "codes.npy"
    write_array(path, np.arange(600, dtype=np.float32).reshape(100, 6), {"pca": "abc"})
    whole, count = path.read_bytes(), -(-100 // rows)
    for offset in [*range(0, read_seal(path)["bytes"], 41), len(whole) - 5]:
        content = bytearray(whole)
        content[offset] ^= 1
        path.write_bytes(content)
        taken = []
        with pytest.raises(FileFault, match=r"codes\.npy.*delete it and rerun"):
            taken.extend(read_blocks(path, rows))
        assert len(taken) < count


def test_an_empty_array_is_verified(tmp_path):
    path = tmp_path / "a.npy"
    write_array(path, np.zeros((0, 3), dtype=np.float32))
    content = path.read_bytes().replace(b"'<f4'", b"'<i4'")
    path.write_bytes(content)
    with pytest.raises(FileFault, match="wrong checksum"):
        list(read_blocks(path, 5))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_truncation_is_noticed(tmp_path, keep):
    path = tmp_path / "a.npy"
    write_array(path, np.arange(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(FileFault, match="delete it and rerun"):
        next(read_blocks(path, 10))


def test_a_file_that_shrinks_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "a.npy"
    write_array(path, np.arange(100_000))
    blocks = read_blocks(path, 50_000)
    next(blocks)
    with open(path, "r+b") as handle:
        handle.truncate(500_000)
    with pytest.raises(FileFault, match="truncated while it was read"):
        next(blocks)


def npy(array, version=None):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 300, "is not a plain array"),
        (npy(np.array(3.0)), r"is not a plain array of rows \(type float64, shape \(\)\)"),
        (npy(np.ones((4, 3), order="F")), "is not a plain array of rows"),
        (npy(np.array([None, 1], dtype=object)), "is not a plain array of rows"),
        (npy(np.ones((4, 3)), version=(3, 0)), "is not a plain array"),
        (npy(np.ones((4, 3)))[:-8], r"has 216 bytes, which do not fit its shape \(4, 3\)"),
    ],
)
def test_what_is_no_array_of_rows_is_refused(tmp_path, content, message):
    write_sealed(tmp_path / "a.npy", content, {})
    with pytest.raises(FileFault, match=message):
        next(read_blocks(tmp_path / "a.npy", 3))


def test_wrong_columns_and_rows_are_named(tmp_path):
    write_array(tmp_path / "a.npy", np.ones((4, 3)))
    with pytest.raises(FileFault, match=r"a\.npy: has shape \(4, 3\), expected 7 columns"):
        next(read_blocks(tmp_path / "a.npy", 2, columns=7))
    with pytest.raises(InputError, match="a block has 0 rows; allowed"):
        next(read_blocks(tmp_path / "a.npy", 0))
    with pytest.raises(FileFault, match="cannot be read"):
        next(read_blocks(tmp_path / "none.npy", 2))


def test_memory_does_not_follow_the_rows(tmp_path):
    def peak(rows):
        """Of writing and reading a list of skipped rows, in bytes."""
        path, step = tmp_path / f"{rows}.npy", 50_000
        tracemalloc.start()
        with stream_array(path, (rows,), np.int64) as append:
            for start in range(0, rows, step):
                append(np.arange(start, start + step))
        total = sum(int(block.sum()) for block in read_blocks(path, step))
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == rows * (rows - 1) // 2
        return found

    # The search for the trailer takes 16 MiB of a larger file.
    assert peak(6_000_000) < peak(2_500_000) + 200_000 < 20_000_000
