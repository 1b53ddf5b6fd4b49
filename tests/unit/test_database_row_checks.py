"""Checksums of rows: what damage they notice, all of it where rows are small, and what they must not depend on."""

import tracemalloc
import zlib

import numpy as np
import pytest

from nndefense.core.errors import FileFault, InputError
from nndefense.database import row_checks as module
from nndefense.database.row_checks import CheckedRows, checks_at, row_checks

MODULUS = 1 << 64


def random_rows(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return np.frombuffer(rng.bytes(np.prod(shape) * np.dtype(dtype).itemsize), dtype).reshape(shape).copy()


def by_definition(row, number):
    """The checksum of one row in Python's integers."""
    content = row.tobytes()
    words = [int.from_bytes(content[at : at + 4], "little") for at in range(0, len(content), 4)]
    drawn = [int(one) | 1 for one in np.random.Philox(key=module.KEY).random_raw(len(words) + 1)]
    total = number * module.NUMBER + zlib.crc32(f"{row.dtype.str} {len(content)}".encode()) * module.KIND
    for place, word in enumerate(words):
        pair = drawn[place - place % 2], drawn[place - place % 2 + 1]
        total += word * (pair[0] if place % 2 == 0 else (pair[0] << 32) + pair[1])
    return total % MODULUS


@pytest.mark.parametrize(("columns", "dtype"), [(1, "u1"), (7, "u1"), (5, "f2"), (8, "f2"), (3, "f4"), (2, "f8")])
def test_checksums_follow_their_definition(columns, dtype):
    rows = random_rows((9, columns), dtype)
    expected = [by_definition(row, 1_000_000_007 + place) for place, row in enumerate(rows)]
    assert row_checks(rows, 1_000_000_007).tolist() == expected


def test_stored_checksums_stay_valid():
    rows = np.array([[0.25, 0.5, 0.25], [1, 0, 0]], dtype="<f2")
    assert row_checks(rows, 5).tolist() == [16298454333858237161, 422759175902395134]


@pytest.mark.parametrize(("columns", "dtype"), [(1, "u1"), (7, "u1"), (5, "f2"), (8, "f2"), (3, "f4"), (3, "f8")])
def test_every_flipped_bit_is_noticed(columns, dtype):
    rows = random_rows((3, columns), dtype)
    expected = row_checks(rows, 40)
    content = rows.view(np.uint8)
    for byte in range(content.shape[1]):
        for bit in range(8):
            content[1, byte] ^= 1 << bit
            assert (row_checks(rows, 40) != expected).tolist() == [False, True, False]
            content[1, byte] ^= 1 << bit
    assert (row_checks(rows, 40) == expected).all()


@pytest.mark.parametrize("place", range(5))
def test_every_other_value_is_noticed(place):
    rows = np.repeat(random_rows((1, 5), "u2"), 1 << 16, axis=0)
    rows[:, place] = np.arange(1 << 16)
    assert len(np.unique(checks_at(rows, np.zeros(1 << 16)))) == 1 << 16


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_unequal_values_in_each_others_place_are_noticed(dtype):
    row = np.random.default_rng(1).choice(256, size=40, replace=False).astype(dtype)
    pairs = np.argwhere(np.triu(np.ones((40, 40)), 1))
    rows = np.repeat(row[None], len(pairs), axis=0)
    places = np.arange(len(pairs))
    rows[places, pairs[:, 0]], rows[places, pairs[:, 1]] = row[pairs[:, 1]], row[pairs[:, 0]]
    checks = checks_at(np.concatenate([row[None], rows]), np.zeros(len(pairs) + 1))
    assert len(np.unique(checks)) == len(checks)


def test_no_two_values_of_a_long_row_can_change_places_unnoticed():
    # (w_i - w_j)(m_i - m_j) is 0 modulo 2^64 for no two numbers of 32 bits where m_i and m_j differ modulo 2^33.
    low, high = module._multipliers((1 << 16) // 8)
    multipliers = np.concatenate([low, (low << np.uint64(32)) + high])
    assert (multipliers % np.uint64(2) == 1).all()
    assert len(np.unique(multipliers % np.uint64(1 << 33))) == (1 << 16) // 4


@pytest.mark.parametrize("bit", range(64))
def test_a_bit_stuck_in_many_words_is_noticed(bit):
    rows = random_rows((200, 100), "u8", seed=bit)
    stuck = rows.copy()
    stuck[:, 3:67:2] |= np.uint64(1 << bit)
    changed = (stuck != rows).any(axis=1)
    assert ((row_checks(stuck, 0) != row_checks(rows, 0)) == changed).all()


def test_a_row_at_another_number_is_noticed():
    row = random_rows((1, 6), "f2")
    assert len(np.unique(row_checks(np.repeat(row, 5000, axis=0), 3_000_000_000))) == 5000
    rows = random_rows((8, 6), "f2")
    expected = row_checks(rows, 100)
    assert (row_checks(rows, 101) != expected).all()
    assert (row_checks(rows[[1, 0, *range(2, 8)]], 100) != expected).tolist() == [True, True] + [False] * 6


def test_checksums_do_not_depend_on_blocks_or_layout(monkeypatch):
    rows = random_rows((50, 9), "f2")
    expected = row_checks(rows, 7)
    assert np.concatenate([row_checks(rows[:13], 7), row_checks(rows[13:], 20)]).tolist() == expected.tolist()
    order = np.random.default_rng(2).permutation(50)
    np.testing.assert_array_equal(checks_at(rows[order], 7 + order), expected[order])
    for other in (np.asfortranarray(rows), np.repeat(rows, 2, axis=0)[::2], np.repeat(rows, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(row_checks(other, 7), expected)
    monkeypatch.setattr(module, "BLOCK_BYTES", 40)
    np.testing.assert_array_equal(row_checks(rows, 7), expected)


def test_the_type_and_the_length_count():
    rows = random_rows((1, 4), "<i2")
    kinds = [rows, rows.view(">i2"), rows.view("<f2"), rows.view("<u4"), np.pad(rows, ((0, 0), (0, 1)))]
    assert len({int(row_checks(one, 0)[0]) for one in kinds}) == len(kinds)


@pytest.mark.parametrize("columns", [1000, 1001])
def test_memory_follows_the_block(columns):
    rows = np.ones((10_000, columns), dtype=np.float16)
    tracemalloc.start()
    row_checks(rows, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def test_other_shapes_and_types_are_refused():
    for rows in (np.ones(3), np.ones((2, 0)), np.ones((2, 3, 1)), np.array([[None]])):
        with pytest.raises(InputError, match="allowed: "):
            row_checks(rows, 0)
    assert row_checks(np.ones((0, 3)), 0).shape == (0,)


def test_rows_are_compared_where_they_are_read():
    rows = random_rows((20, 6), "f2")
    checked = CheckedRows(rows, row_checks(rows, 300), 300, "s.npy")
    np.testing.assert_array_equal(checked[np.array([7, 3, 7])], rows[[7, 3, 7]])
    assert (checked.shape, checked.dtype) == (rows.shape, rows.dtype)
    rows.view(np.uint16)[7, 2] ^= 1
    checked[np.array([6, 8])]
    with pytest.raises(FileFault, match=r"^s\.npy: row 7 is damaged; delete it and rerun$"):
        checked[np.array([6, 7, 8])]
    with pytest.raises(FileFault, match="row 6 is damaged"):
        CheckedRows(rows, row_checks(rows, 300), 301, "s.npy")[np.array([6])]


def test_checksums_that_do_not_fit_are_refused():
    rows = random_rows((20, 6), "f2")
    for checks in (row_checks(rows, 0)[1:], row_checks(rows, 0).astype(np.int64)):
        with pytest.raises(FileFault, match=r"s\.npy: has rows \(20, 6\), but checksums"):
            CheckedRows(rows, checks, 0, "s.npy")
