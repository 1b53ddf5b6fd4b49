"""Copies of queries in a database: exact ones by pixels, near ones by codes, whatever their length and batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import InputError
from nndefense.database.copies import (
    NEAR,
    NOWHERE,
    UNREAD,
    copied_rows,
    first_copies,
    near_rows,
    nearly_there,
    pixel_sums,
)
from nndefense.database.index import build_index, search
from nndefense.features.bits import pack_signs

seeds = st.integers(0, 2**32 - 1)


def pictures(rng, count, side=5):
    return rng.integers(0, 256, size=(count, side, side, 3), dtype=np.uint8)


# -- by pixels


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 30), st.integers(1, 7))
def test_sums_are_of_the_pixels_alone(seed, count, batch):
    rng = np.random.default_rng(seed)
    images = pictures(rng, count)
    sums = pixel_sums(images)
    order = rng.permutation(count)
    np.testing.assert_array_equal(pixel_sums(images[order]), sums[order])
    parts = [pixel_sums(images[start : start + batch]) for start in range(0, count, batch)]
    np.testing.assert_array_equal(np.concatenate(parts), sums)
    # As float pixels in [0, 1] they are the same numbers.
    again = (images.astype(np.float32) / 255 * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(pixel_sums(again), sums)
    changed = images.copy()
    place = tuple(rng.integers(0, size) for size in images.shape)
    changed[place] ^= np.uint8(1 << rng.integers(8))
    assert (pixel_sums(changed) != sums).tolist() == [number == place[0] for number in range(count)]


def test_an_image_of_another_shape_has_another_sum():
    flat = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    assert pixel_sums(flat) != pixel_sums(np.zeros((1, 5, 5, 3), dtype=np.uint8))
    assert pixel_sums(flat) != UNREAD
    for bad in (flat[0], flat.astype(np.float32)):
        with pytest.raises(InputError, match="allowed"):
            pixel_sums(bad)


def test_unread_images_are_copies_of_none():
    images = np.zeros((4, 2, 2, 3), dtype=np.uint8)
    sums = pixel_sums(images, [1, 2])
    assert (sums == UNREAD).tolist() == [False, True, True, False]
    assert first_copies(pixel_sums(images[:1]), [(10, sums)]).tolist() == [10]
    assert first_copies(pixel_sums(images[:1]), [(10, sums[1:3])]).tolist() == [NOWHERE]
    # Not even of an unread query.
    assert first_copies(np.array([UNREAD]), [(0, sums)]).tolist() == [NOWHERE]
    assert copied_rows(sums, np.array([UNREAD, sums[0]])).tolist() == [0, 3]


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(0, 12), st.integers(0, 40), st.integers(1, 5))
def test_first_copies_are_those_of_a_loop(seed, queries, rows, cuts):
    """Duplicates among queries, within the pool, across shards, and shards in any order."""
    rng = np.random.default_rng(seed)
    wanted = rng.integers(0, 9, size=queries).astype(np.uint64)
    pool = rng.integers(0, 9, size=rows).astype(np.uint64)
    edges = np.sort(rng.integers(0, rows + 1, size=cuts - 1))
    starts = [0, *edges.tolist()]
    shards = list(zip(starts, np.split(pool, edges), strict=True))
    rng.shuffle(shards)
    found = first_copies(wanted, shards)
    for one, row in zip(wanted, found, strict=True):
        same = np.flatnonzero(pool == one) if one else np.array([])
        assert row == (same[0] if len(same) else NOWHERE)
    for size in (1, 7, rows):
        np.testing.assert_array_equal(found < size, np.isin(wanted, pool[:size]) & (wanted != 0))
    np.testing.assert_array_equal(copied_rows(pool, wanted), [n for n, one in enumerate(pool) if one and one in wanted])


# -- by codes


@pytest.mark.parametrize("length", [1e-2, 1.0, 30.0, 1e4])
def test_copies_are_found_whatever_the_length_of_codes(length):
    """Distances of copies are rounding errors, which grow with the length: no fixed number tells them."""
    rng = np.random.default_rng(0)
    codes = (length * rng.normal(size=(3000, 64)) / 8).astype(np.float32)
    # A forward pass in another batch rounds otherwise.
    queries = (codes[:120] * (1 + 2e-6 * rng.normal(size=(120, 64)))).astype(np.float32)
    _, distances = search(build_index(codes), queries, 5)
    assert nearly_there(queries, distances[:, 0]).all()
    if length == 30:
        assert 0 < (distances[:, 0] <= 1e-6).sum() < 120
    others = (length * rng.normal(size=(120, 64)) / 8).astype(np.float32)
    assert not nearly_there(others, search(build_index(codes), others, 5)[1][:, 0]).any()


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0, 3), st.sampled_from([1e-3, 1.0, 1e3]))
def test_near_is_a_share_of_the_querys_length(seed, share, length):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(1, 32))
    query *= length / np.linalg.norm(query)
    step = rng.normal(size=(1, 32))
    step *= share * NEAR * length / np.linalg.norm(step)
    code, query = (query + step).astype(np.float32), query.astype(np.float32)
    _, distances = search(build_index(code), query, 1)
    if abs(share - 1) > 1e-2:
        assert nearly_there(query, distances[:, 0]).tolist() == [share < 1]
        assert near_rows(code, query).tolist() == ([0] if share < 1 else [])


def test_no_code_and_no_query_are_near_to_nothing():
    queries = np.array([[1, 2], [np.nan, 1], [3, 4]], dtype=np.float32)
    assert not nearly_there(queries, np.full(3, np.inf, dtype=np.float32)).any()
    assert nearly_there(queries, np.zeros(3, dtype=np.float32)).tolist() == [True, False, True]
    assert near_rows(queries[[1]] * 0 + 1, queries[[1]]).tolist() == []


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 60))
def test_bits_are_near_where_their_distance_is(seed, width):
    rng = np.random.default_rng(seed)
    codes, queries = (rng.normal(size=(count, width)).astype(np.float32) for count in (40, 6))
    codes[7], queries[2] = queries[3], -codes[5]
    bits = pack_signs(codes)
    _, distances = search(build_index(bits), queries, 1)
    near = nearly_there(queries, distances[:, 0], bits=True)
    assert near[3]
    # 0.02 of a vector of signs is less than one of them.
    np.testing.assert_array_equal(near, distances[:, 0] == 0)
    same = [row for row in range(40) if ((codes[row] > 0) == (queries > 0)).all(axis=1).any()]
    assert near_rows(bits, queries).tolist() == same


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_near_rows_do_not_depend_on_blocks(kind, monkeypatch):
    rng = np.random.default_rng(1)
    codes, queries = rng.normal(size=(90, 8)).astype(kind), rng.normal(size=(7, 8)).astype(np.float32)
    codes[[3, 44, 89]] = queries[[0, 6, 6]]
    assert near_rows(codes, queries).tolist() == [3, 44, 89]
    monkeypatch.setattr("nndefense.database.copies.BLOCK", 10)
    assert near_rows(codes, queries).tolist() == [3, 44, 89]
