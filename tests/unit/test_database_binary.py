"""Hamming search against unpacked bits, also where shards tie, and the scripts from features to neighbours."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.arrays import read_array, write_array
from nndefense.core.errors import FileFault, InputError
from nndefense.database.index import build_index, index_from_bytes, index_to_bytes, search
from nndefense.database.lists import read_lists
from nndefense.database.merge import merge_neighbors
from nndefense.features.bits import pack_signs
from nndefense.features.stored_pca import read_pca
from tests.unit.deployed_case import call


def data(n=500, queries=30, d=256, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(queries, d)).astype(np.float32)


def brute_force(codes, queries, k):
    """Nearest by the number of signs that differ, ties by id; float codes in."""
    distances = ((queries[:, None] > 0) != (codes[None] > 0)).sum(axis=2)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(distances, ids, axis=1)


@pytest.mark.parametrize("d", [3, 8, 20, 256])
def test_search_equals_brute_force_on_the_signs(d):
    codes, queries = data(d=d)
    ids, distances = search(build_index(pack_signs(codes)), queries, 40, ids=np.arange(1000, 1500))
    expected_ids, expected_distances = brute_force(codes, queries, 40)
    np.testing.assert_array_equal(ids, expected_ids + 1000)
    np.testing.assert_array_equal(distances, expected_distances)
    assert ids.dtype == np.int64
    assert distances.dtype == np.float32


def test_distances_equal_unpacked_bits():
    rng = np.random.default_rng(0)
    codes, queries = (rng.integers(0, 256, (n, 32), dtype=np.uint8) for n in (60, 9))
    bits, query_bits = np.unpackbits(codes, axis=1), np.unpackbits(queries, axis=1)
    ids, distances = search(build_index(codes), query_bits.astype(np.float32), 60)
    for row, query in enumerate(query_bits):
        np.testing.assert_array_equal(distances[row], (bits[ids[row]] != query).sum(axis=1))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 400),
    d=st.integers(1, 12),
    k=st.integers(1, 120),
    cut=st.floats(0, 1),
)
def test_merged_shards_equal_one_search_in_spite_of_ties(seed, n, d, k, cut):
    codes, queries = data(n, 4, d, seed)
    split = round(cut * n)
    packed = pack_signs(codes)
    lists = [search(build_index(packed[rows]), queries, k, ids=rows) for rows in np.split(np.arange(n), [split])]
    ids, distances = merge_neighbors(lists, k)
    whole, whole_distances = search(build_index(packed), queries, k)
    np.testing.assert_array_equal(ids, whole)
    np.testing.assert_array_equal(distances, whole_distances)


def test_queries_that_are_not_finite_and_missing_places_hold_minus_one():
    codes, queries = data(n=4)
    valid = np.ones(30, dtype=bool)
    valid[[3, 8]] = False
    queries[3, 5], queries[8] = np.nan, np.inf
    index = build_index(pack_signs(codes))
    ids, distances = search(index, queries, 6)
    assert (ids[~valid] == -1).all()
    assert (ids[:, 4:] == -1).all()
    assert (np.sort(ids[valid, :4]) == np.arange(4)).all()
    np.testing.assert_array_equal(np.isinf(distances), ids == -1)
    np.testing.assert_array_equal(ids[valid], search(index, queries[valid], 6)[0])
    nobody, _ = search(index, np.full_like(queries, np.nan), 6)
    assert (nobody == -1).all()
    assert (search(build_index(pack_signs(codes[:0])), queries, 2)[0] == -1).all()


def test_bytes_round_trip_and_damage():
    codes, queries = data()
    index = build_index(pack_signs(codes), "IVF4,Flat")
    stored = index_to_bytes(index)
    loaded = index_from_bytes(stored, dimension=256, rows=500)
    for first, second in zip(*(search(one, queries, 9, nprobe=4) for one in (index, loaded)), strict=True):
        np.testing.assert_array_equal(first, second)
    with pytest.raises(FileFault, match="dimension 256, expected 64"):
        index_from_bytes(stored, dimension=64)
    with pytest.raises(FileFault, match="500 rows, expected 501"):
        index_from_bytes(stored, rows=501)
    with pytest.raises(FileFault, match="damaged or not a FAISS index"):
        index_from_bytes(stored[: len(stored) // 2])
    inexact = faiss.serialize_index_binary(faiss.IndexBinaryHNSW(64, 8)).tobytes()
    with pytest.raises(FileFault, match="expected IndexBinaryFlat"):
        index_from_bytes(inexact)


def test_bad_arguments_are_named():
    codes, queries = data()
    index = build_index(pack_signs(codes))
    with pytest.raises(InputError, match="packed bits uint8, got"):
        build_index(codes.astype(np.int64))
    with pytest.raises(InputError, match="128 bits, the index has 256"):
        search(index, queries[:, :128], 3)
    with pytest.raises(InputError, match="queries must be"):
        search(index, pack_signs(queries), 3)
    with pytest.raises(InputError, match="k is 0"):
        search(index, queries, 0)


def test_scripts_from_features_to_neighbours(tmp_path):
    rng = np.random.default_rng(0)
    layer, shards, skipped = "conv_4_1-RMAC", ((0, 60), (60, 100)), {0: [5], 60: [60, 99]}
    features = rng.normal(size=(100, 24)).astype(np.float16)
    queries = rng.normal(size=(12, 24)).astype(np.float16)
    about = {"layer": layer, "model": "m", "pool": "All"}
    for start, stop in shards:
        facts = about | {"start": start, "stop": stop}
        write_array(tmp_path / f"{start}.npy", features[start:stop], facts)
        write_array(tmp_path / f"{start}.skipped.npy", np.array(skipped[start]), facts)
    write_array(tmp_path / "queries.npy", queries, about | {"sets": ["clean"], "start": 0, "stop": 12, "skipped": [2]})
    pca = tmp_path / "pca.npz"
    first = {"features": [tmp_path / "0.npy"], "skipped": [tmp_path / "0.skipped.npy"]}
    call("fit_pca", **first, components=20, samples=60, seed=1, output=pca)
    codes = [tmp_path / f"{start}.codes.npy" for start, _ in shards]
    for (start, stop), output in zip(shards, codes, strict=True):
        call("encode_features", features=[tmp_path / f"{start}.npy"], pca=[pca], codes=[output], type="float16")
        assert read_array(output)[0].shape == (stop - start, 3)
        assert read_array(output)[0].dtype == np.uint8
    search = {
        "queries": [tmp_path / "queries.npy"],
        "pca": pca,
        "shards": codes,
        "skipped": [tmp_path / f"{start}.skipped.npy" for start, _ in shards],
        "stops": [60, 100],
        "neighbors": 10,
        "probes": 1,
        "neighbors_files": [tmp_path / "lists.npz"],
    }
    call("search_span", **search)
    lists = read_lists(tmp_path / "lists.npz", [100])
    ids, distances = lists["ids"][0, 0], lists["distances"][0, 0]
    fitted, _ = read_pca(pca)
    usable = np.setdiff1d(np.arange(100), [5, 60, 99])
    expected, expected_distances = brute_force(fitted.transform(features[usable]), fitted.transform(queries), 10)
    asked = np.arange(12) != 2
    np.testing.assert_array_equal(ids[asked], usable[expected[asked]])
    np.testing.assert_array_equal(distances[asked], expected_distances[asked])
    assert (ids[~asked] == -1).all()
    assert np.isinf(distances[~asked]).all()
    for name, value in (("model", "n"), ("layer", "conv_3_1-RMAC")):
        facts = about | {name: value, "sets": ["clean"], "start": 0, "stop": 12, "skipped": []}
        write_array(tmp_path / "others.npy", queries, facts)
        with pytest.raises(FileFault, match=rf"others.npy: has {name} {value}, the database {about[name]}; delete it"):
            call("search_span", **search | {"queries": [tmp_path / "others.npy"]})
    call("fit_pca", **first, components=16, samples=60, seed=1, output=tmp_path / "other.npz")
    with pytest.raises(FileFault, match=r"0.codes.npy: was made with pca \w+, expected \w+; delete it"):
        call("search_span", **search | {"pca": tmp_path / "other.npz"})
