"""Searches against brute force, and the faults that FAISS itself does not report."""

import faiss
import numpy as np
import pytest

from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.database.index import (
    BLAS_THRESHOLD,
    build_index,
    index_from_bytes,
    index_to_bytes,
    search,
)


def data(n=600, queries=40, d=64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(queries, d)).astype(np.float32)


def brute_force(codes, queries, k):
    distances = ((queries[:, None].astype(np.float64) - codes[None]) ** 2).sum(axis=2)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(distances, ids, axis=1)


@pytest.mark.parametrize("queries", [1, 3, 40, 700])
def test_flat_search_equals_brute_force_for_every_batch_size(queries):
    codes, points = data(queries=queries)
    ids, distances = search(build_index(codes), points, 10)
    expected_ids, expected_distances = brute_force(codes, points, 10)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-4)
    assert ids.dtype == np.int64
    assert distances.dtype == np.float32


def test_search_puts_the_blas_threshold_in_force():
    faiss.cvar.distance_compute_blas_threshold = 128_000
    codes, points = data(queries=1)
    search(build_index(codes), points, 1)
    assert faiss.cvar.distance_compute_blas_threshold == BLAS_THRESHOLD
    # A batch of 20 queries at d=256 must be large enough.
    assert BLAS_THRESHOLD <= 20 * 256


def test_missing_places_hold_minus_one():
    codes, points = data(n=4)
    rows = np.array([1000, 1001, 1005, 1009])
    ids, distances = search(build_index(codes), points, 6, ids=rows)
    assert (ids[:, 4:] == -1).all()
    assert np.isinf(distances[:, 4:]).all()
    np.testing.assert_array_equal(np.sort(ids[:, :4], axis=1), np.tile(rows, (40, 1)))
    empty = search(build_index(codes[:0]), points, 2)
    assert (empty[0] == -1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_queries_that_are_not_finite_find_nothing_and_disturb_no_other(bad):
    codes, points = data()
    clean = search(build_index(codes), points, 5)
    points[[2, 7], 3] = bad
    ids, distances = search(build_index(codes), points, 5)
    invalid = np.isin(np.arange(len(points)), [2, 7])
    assert (ids[invalid] == -1).all()
    assert np.isinf(distances[invalid]).all()
    np.testing.assert_array_equal(ids[~invalid], clean[0][~invalid])


def test_equal_codes_come_in_the_order_of_their_ids():
    codes = np.zeros((5, 8), dtype=np.float32)
    ids, distances = search(build_index(codes), codes[:2], 5)
    assert ids.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert not distances.any()


def test_approximate_indexes_find_most_neighbours_and_are_deterministic():
    codes, points = data(n=3000, d=16)
    exact, _ = search(build_index(codes), points, 10)
    for factory, nprobe, least in (("IVF16,Flat", 16, 1.0), ("SQ8", None, 0.9), ("IVF16,PQ8np", 16, 0.5)):
        first, second = build_index(codes, factory), build_index(codes, factory)
        assert index_to_bytes(first) == index_to_bytes(second)
        ids, _ = search(first, points, 10, nprobe=nprobe)
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids.tolist(), exact.tolist(), strict=True)])
        assert recall >= least, factory


def test_few_cells_leave_missing_places():
    codes, points = data(n=640, d=8)
    ids, distances = search(build_index(codes, "IVF16,Flat"), points, 300, nprobe=1)
    assert (ids == -1).any()
    np.testing.assert_array_equal(ids == -1, np.isinf(distances))


def test_bytes_round_trip_and_damage():
    codes, points = data()
    index = build_index(codes)
    stored = index_to_bytes(index)
    loaded = index_from_bytes(stored, dimension=64, rows=600)
    np.testing.assert_array_equal(search(loaded, points, 5)[0], search(index, points, 5)[0])
    with pytest.raises(FileFault, match="dimension 64, expected 65"):
        index_from_bytes(stored, dimension=65)
    with pytest.raises(FileFault, match="600 rows, expected 601"):
        index_from_bytes(stored, rows=601)
    with pytest.raises(FileFault, match="damaged"):
        index_from_bytes(stored[: len(stored) // 2])
    with pytest.raises(FileFault, match="metric"):
        index_from_bytes(faiss.serialize_index(faiss.IndexFlatIP(8)).tobytes())


def test_bad_arguments_are_named():
    codes, points = data()
    with pytest.raises(ConfigError, match="'Flatt'"):
        build_index(codes, "Flatt")
    with pytest.raises(InputError, match="cannot be trained on 600"):
        build_index(codes, "IVF1000,Flat")
    with pytest.raises(InputError, match="float32"):
        build_index(codes.astype(np.float64))
    codes[5, 5] = np.nan
    with pytest.raises(InputError, match="in 1 rows"):
        build_index(codes)
    index = build_index(data()[0])
    with pytest.raises(InputError, match="32 dimensions, the index has 64"):
        search(index, points[:, :32], 3)
    with pytest.raises(InputError, match="k is 0"):
        search(index, points, 0)
    with pytest.raises(InputError, match="nprobe"):
        search(index, points, 1, nprobe=4)
    with pytest.raises(InputError, match=r"ids must be \(600,\)"):
        search(index, points, 1, ids=np.arange(3))
