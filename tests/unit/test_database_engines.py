"""Engines against brute force and one another, and what must not change an answer: how rows are cut and packed."""

import tracemalloc
from itertools import pairwise

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.arrays import write_array
from nndefense.core.blocks import read_blocks
from nndefense.core.errors import ConfigError, FileFault, InputError
from nndefense.database.engines.base import Engine
from nndefense.database.engines.binary import Binary
from nndefense.database.engines.exact import Exact
from nndefense.database.engines.grid import GRID, cells
from nndefense.database.engines.trained import Trained, search_indexes, train
from nndefense.database.index import build_index, search
from nndefense.database.merge import merge_neighbors
from nndefense.features.bits import pack_signs

EXACT = [Exact(library="faiss"), Exact(library="torch")]
NAMES = ["faiss", "torch"]


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def packs(d=256):
    """Query sets of different sizes; the first is small enough to be searched without BLAS.

    At 256 dimensions, products of other shapes do round otherwise.
    """
    return [normal(count, d, seed=count) for count in (3, 60, 117)]


def distances_of(codes, queries):
    squares = (queries[:, None].astype(np.float64) - codes[None].astype(np.float64)) ** 2
    return squares.sum(axis=2).astype(np.float32)


def brute_force(codes, queries, k):
    distances = distances_of(codes, queries)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(distances, ids, axis=1)


def one(engine, codes, queries, k, **options):
    """Answer of one query set from codes at once."""
    found = engine.search_blocks([codes], [queries], k, **options)
    return found[max(found)][0]


def assert_same(found, expected):
    for first, second in zip(found, expected, strict=True):
        np.testing.assert_array_equal(first, second)
        assert first.dtype == second.dtype


def assert_nearest(found, codes, queries, k):
    """The right distances, of the rows that are named, each once: right but for an order that rounding decides."""
    ids, distances = found
    np.testing.assert_allclose(distances, brute_force(codes, queries, k)[1], rtol=1e-5)
    np.testing.assert_allclose(distances, np.take_along_axis(distances_of(codes, queries), ids, axis=1), rtol=1e-5)
    assert all(len(set(row)) == k for row in ids.tolist())
    assert (ids.dtype, distances.dtype) == (np.int64, np.float32)


def cut(codes, edges):
    return [codes[low:high] for low, high in pairwise([0, *sorted(edges), len(codes)])]


# -- every engine of float codes


@pytest.mark.parametrize("engine", EXACT, ids=NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("k", [1, 10, 150])
def test_exact_search_equals_brute_force(engine, dtype, k):
    codes, queries = normal(2500, 32, dtype=dtype), normal(50, 32, seed=1)
    assert_nearest(one(engine, codes, queries, k), codes, queries, k)


@pytest.mark.parametrize("engine", EXACT, ids=NAMES)
@pytest.mark.parametrize("k", [1, 7, 130])
def test_ties_go_to_the_smaller_id(engine, k):
    rng = np.random.default_rng(3)
    codes, queries = (rng.integers(0, 2, (count, 5)).astype(np.float32) for count in (2500, 600))
    assert_same(one(engine, codes, queries, k)[:1], brute_force(codes, queries, k)[:1])
    assert_same(one(engine, codes.astype(np.float16), queries, k), one(engine, codes, queries, k))


@pytest.mark.parametrize("engine", EXACT, ids=NAMES)
def test_short_lists_begin_long_ones(engine):
    codes, queries = normal(2000, 16), normal(200, 16, seed=1)
    longest = one(engine, codes, queries, 150)
    for k in (1, 2, 90):
        assert_same(one(engine, codes, queries, k), [part[:, :k] for part in longest])


@pytest.mark.parametrize("engine", EXACT, ids=NAMES)
def test_packs_change_no_answer(engine):
    codes, sets = normal(3000, 256), packs()
    together = engine.search_blocks([codes], sets, 120)[3000]
    for queries, found in zip(sets, together, strict=True):
        assert_same(one(engine, codes, queries, 120), found)
    for found, expected in zip(engine.search_blocks([codes], sets[::-1], 120)[3000], together[::-1], strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("engine", EXACT, ids=NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_blocks_spans_and_skipped_pieces_change_no_answer(engine, seed):
    rng = np.random.default_rng(seed)
    codes, sets = normal(4000, 256, dtype=np.float16), packs()[1:]
    skipped = np.sort(rng.choice(4000, 300, replace=False))
    whole = engine.search_blocks([codes], sets, 120, skipped=[skipped])[4000]
    blocks, pieces = cut(codes, rng.integers(0, 4001, 5)), cut(skipped, rng.integers(0, 301, 3))
    for found, expected in zip(engine.search_blocks(blocks, sets, 120, skipped=pieces)[4000], whole, strict=True):
        assert_same(found, expected)
    edges = [0, *sorted(rng.choice(4000, 3, replace=False).tolist()), 4000]
    spans = [
        engine.search_blocks([codes[low:high]], sets, 120, first=low, skipped=[skipped])[high]
        for low, high in pairwise(edges)
    ]
    for lists, expected in zip(zip(*spans, strict=True), whole, strict=True):
        assert_same(merge_neighbors(lists, 120), expected)


@pytest.mark.parametrize("engine", EXACT, ids=NAMES)
def test_snapshots_are_searches_of_what_was_read(engine):
    codes, sets, stops = normal(70_000, 16, dtype=np.float16), [normal(25, 16, seed=1)], [500, 1000, 4096, 66_000]
    found = engine.search_blocks(cut(codes, [30_000]), sets, 20, stops=stops[::-1])
    assert list(found) == [*stops, 70_000]
    for stop in found:
        assert_same(found[stop][0], one(engine, codes[:stop], sets[0], 20))
    assert list(engine.search_blocks([codes[:500]], sets, 20, stops=[500])) == [500]


@pytest.mark.parametrize("engine", EXACT, ids=NAMES)
def test_skipped_rows_are_never_found_and_bad_queries_find_nothing(engine):
    codes, queries = normal(50, 8), normal(6, 8, seed=1)
    skipped = np.array([100, 101, 130, 149])
    good = np.setdiff1d(np.arange(50), skipped - 100)
    queries[1, 3], queries[4] = np.nan, np.inf
    ids, distances = one(engine, codes, queries, 60, first=100, skipped=[np.array([3, 99]), skipped, np.array([150])])
    valid = np.isin(np.arange(6), [0, 2, 3, 5])
    np.testing.assert_array_equal(ids[valid, :46], 100 + good[brute_force(codes[good], queries[valid], 46)[0]])
    assert (ids[:, 46:] == -1).all()
    assert (ids[~valid] == -1).all()
    np.testing.assert_array_equal(np.isinf(distances), ids == -1)
    nobody = one(engine, codes, np.full_like(queries, np.nan), 3)
    assert (nobody[0] == -1).all()
    assert one(engine, codes, queries[:0], 3)[0].shape == (0, 3)
    everything_skipped = one(engine, codes, queries, 3, skipped=[np.arange(50)])
    assert (everything_skipped[0] == -1).all()
    assert (engine.search_blocks([], [queries], 3, first=7)[7][0][0] == -1).all()


# -- FAISS


def by_shards(codes, queries, k, edges):
    """Lists as the workflow makes them from an index per shard."""
    rows = np.arange(len(codes))
    return merge_neighbors([search(build_index(codes[p]), queries, k, ids=p) for p in cut(rows, edges)], k)


def test_lists_are_those_of_indexes_of_whole_grid_lines():
    codes, queries = normal(4 * GRID, 256), normal(117, 256, seed=1)
    assert_same(one(EXACT[0], codes, queries, 90), by_shards(codes, queries, 90, [GRID, 3 * GRID]))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 2500), k=st.integers(1, 150), d=st.integers(1, 12))
def test_lists_are_those_of_any_shards_where_nothing_is_rounded(seed, n, k, d):
    rng = np.random.default_rng(seed)
    # Small integers: ties are frequent, and sums exact in whatever order.
    codes, queries = rng.integers(-2, 3, (n, d)).astype(np.float32), rng.integers(-2, 3, (40, d)).astype(np.float32)
    edges = rng.integers(0, n + 1, 3)
    assert_same(one(EXACT[0], codes, queries, k), by_shards(codes, queries, k, edges))


def test_lists_are_those_of_any_shards_up_to_rounding():
    codes, queries = normal(5000, 64), normal(117, 64, seed=1)
    ids, distances = one(EXACT[0], codes, queries, 50)
    expected_ids, expected = by_shards(codes, queries, 50, [500, 1000, 2000])
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    assert (ids == expected_ids).mean() > 0.999


def test_settings_of_faiss_do_not_matter_and_are_put_back(monkeypatch):
    codes, queries = normal(3000, 256), normal(60, 256, seed=1)
    expected = one(EXACT[0], codes, queries, 20)
    other = {"threshold": 10**9, "query_bs": 7, "database_bs": 100}
    for name, value in other.items():
        monkeypatch.setattr(faiss.cvar, f"distance_compute_blas_{name}", value)
    assert_same(one(EXACT[0], codes, queries, 20), expected)
    assert other == {name: getattr(faiss.cvar, f"distance_compute_blas_{name}") for name in other}


# -- torch


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_candidates_suffice_where_half_precision_loses_the_order(dtype, scale):
    if dtype == np.float16:
        scale = 1.0
    rng = np.random.default_rng(5)
    # Far from the origin and close together: products in half precision say next to nothing.
    codes = (scale * (100 + rng.normal(size=(2000, 16)))).astype(dtype)
    queries = (scale * (100 + rng.normal(size=(30, 16)))).astype(np.float32)
    ids, distances = one(EXACT[1], codes, queries, 5)
    expected_ids, expected = brute_force(codes, queries, 5)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


def test_small_steps_change_no_answer(monkeypatch):
    codes, queries = normal(3000, 32), normal(60, 32, seed=1)
    expected = one(EXACT[1], codes, queries, 20)
    monkeypatch.setattr("nndefense.database.engines.halves.STEP_BYTES", 1 << 18)
    assert_same(one(EXACT[1], codes, queries, 20), expected)


def test_torch_and_faiss_find_the_same():
    codes, queries = normal(6000, 64, dtype=np.float16), normal(80, 64, seed=1)
    found, other = (one(engine, codes, queries, 50) for engine in EXACT)
    np.testing.assert_allclose(found[1], other[1], rtol=1e-5)
    assert (found[0] == other[0]).mean() > 0.999
    assert Exact(device="cuda").on_torch
    assert not Exact().on_torch


# -- bits


def test_bits_equal_a_search_of_one_index_however_they_are_cut():
    rng = np.random.default_rng(0)
    codes, sets = pack_signs(normal(3000, 20)), [normal(9, 20, seed=1), normal(30, 20, seed=2)]
    skipped = np.sort(rng.choice(3000, 200, replace=False))
    good = np.setdiff1d(np.arange(3000), skipped)
    found = Binary().search_blocks(cut(codes, [7, 1800]), sets, 110, skipped=[skipped], stops=[1500])
    for stop, answers in found.items():
        rows = good[good < stop]
        for queries, answer in zip(sets, answers, strict=True):
            assert_same(answer, search(build_index(codes[rows]), queries, 110, ids=rows))
    late = Binary().search_blocks([codes[1500:]], sets, 110, first=1500, skipped=[skipped])[3000]
    for lists, expected in zip(zip(found[1500], late, strict=True), found[3000], strict=True):
        assert_same(merge_neighbors(lists, 110), expected)


# -- inverted files


@pytest.mark.parametrize("factory", ["IVF16,Flat", "IVF16,SQ8", "IVF16,PQ8np"])
def test_shards_of_one_training_answer_as_one_index(factory):
    rng = np.random.default_rng(0)
    codes, sets = normal(5000, 16), [normal(40, 16, seed=1), normal(70, 16, seed=2)]
    trained = train(codes[:2000], factory)
    engine = Trained(trained=trained, probes=4)
    skipped = np.sort(rng.choice(5000, 200, replace=False))
    good = np.setdiff1d(np.arange(5000), skipped)
    index = faiss.deserialize_index(np.frombuffer(trained, dtype=np.uint8))
    index.add_with_ids(codes[good], good)
    for edges in ([], [500, 1000, 2000], rng.integers(0, 5001, 6)):
        places = [0, *sorted(edges), 5000]
        shards = [engine.build([codes[a:b]], first=a, skipped=[skipped]) for a, b in pairwise(places)]
        found = search_indexes(zip(places[1:], shards, strict=True), sets, 30, [5000], probes=4)[5000]
        for queries, lists in zip(sets, found, strict=True):
            assert_same(lists, search(index, queries, 30, nprobe=4))
    streamed = engine.search_blocks(cut(codes, [1, 3000]), sets, 30, skipped=[skipped], stops=[2500])[5000]
    for queries, found in zip(sets, streamed, strict=True):
        assert_same(found, search(index, queries, 30, nprobe=4))


def test_all_lists_of_vectors_hold_the_exact_answer():
    codes, queries = normal(3000, 16, dtype=np.float16), normal(40, 16, seed=1)
    engine = Trained(trained=train(codes, "IVF8,Flat"), probes=8)
    found = one(engine, codes, queries, 20)
    assert_nearest(found, codes, queries, 20)
    fewer = one(Trained(trained=engine.trained, probes=1), codes, queries, 20)
    assert (fewer[0] != found[0]).any()


# Codes that are turned first are turned together, and a product rounds by its shape.
@pytest.mark.parametrize(("factory", "close"), [("SQ8", 0), ("PQ4np", 0), ("PCA8,IVF4,Flat", 1e-6)])
def test_shards_of_other_indexes_answer_as_one(factory, close):
    codes, queries = normal(900, 16), normal(70, 16, seed=1)
    engine = Trained(trained=train(codes[:500], factory), probes=2)
    shards = [(stop, engine.build([codes[a:stop]], first=a)) for a, stop in ((0, 400), (400, 900))]
    whole = [(900, engine.build([codes]))]
    found = search_indexes(shards, [queries], 20, [400, 900], probes=2)
    (expected,) = search_indexes(whole, [queries], 20, [900], probes=2)[900]
    np.testing.assert_allclose(found[900][0][1], expected[1], rtol=close)
    np.testing.assert_array_equal(found[900][0][0], expected[0])
    assert found[400][0][0].max() < 400
    with pytest.raises(InputError, match="no shard ends at row 300"):
        search_indexes(shards, [queries], 20, [300])


def test_training_faults_are_named():
    with pytest.raises(ConfigError, match="'IVFF' is not understood by FAISS for d=4"):
        train(normal(100, 4), "IVFF")
    with pytest.raises(InputError, match="cannot be trained on 3 codes"):
        train(normal(3, 4), "IVF8,Flat")
    with pytest.raises(InputError, match="finite"):
        train(np.full((100, 4), np.nan, np.float32), "IVF2,Flat")
    engine = Trained(trained=train(normal(100, 4), "IVF2,Flat"), probes=1)
    with pytest.raises(InputError, match="codes have 5 dimensions, the index has 4"):
        engine.build([normal(10, 5)])


# -- all


def engines():
    trained = train(normal(300, 8), "IVF4,Flat")
    return [*EXACT, Binary(), Trained(trained=trained, probes=2)]


def test_every_engine_says_what_does_not_fit():
    for engine in engines():
        assert isinstance(engine, Engine)
        codes = pack_signs(normal(40, 8)) if np.uint8 in engine.allowed else normal(40, 8)
        queries = normal(3, 8, seed=1)
        for blocks, asked, options, words in (
            ([codes], queries.astype(np.float64), {}, r"queries must be \(Q, d\) float32"),
            ([codes], normal(3, 21), {}, "queries have (21|24) (dimensions|bits)"),
            ([codes], queries, {"k": 0}, "k is 0"),
            ([codes], queries, {"first": -1}, "first row is -1"),
            ([codes], queries, {"stops": [41]}, "stop 41 lies behind the last row, 40"),
            ([codes], queries, {"stops": [5, 60], "first": 5}, "stop 5 is not behind the first row, 5"),
            ([codes, codes[:, :-1]], queries, {}, "blocks of codes must be"),
            ([codes.astype(np.float64)], queries, {}, "codes are float64; this engine takes"),
            ([codes], queries, {"skipped": [np.array([4, 3])]}, "skipped rows must be integers"),
            ([codes], queries, {"skipped": [np.array([4]), np.array([4])]}, "skipped rows must be integers"),
            ([codes], queries, {"skipped": [np.array([0.5])]}, "skipped rows must be integers"),
        ):
            with pytest.raises(InputError, match=words):
                engine.search_blocks(blocks, [asked], **{"k": 3, **options})
    with pytest.raises(ConfigError, match="on the CPU, not on 'cuda'"):
        Exact(device="cuda", library="faiss")


def test_damaged_codes_and_damaged_lists_of_skipped_rows_give_no_answer(tmp_path):
    codes, queries = normal(1000, 8, dtype=np.float16), normal(3, 8, seed=1)
    write_array(tmp_path / "codes.npy", codes)
    write_array(tmp_path / "skipped.npy", np.arange(500, 2000))

    def answer(engine):
        blocks, skipped = read_blocks(tmp_path / "codes.npy", 300), read_blocks(tmp_path / "skipped.npy", 200)
        return engine.search_blocks(blocks, [queries], 4, skipped=skipped, stops=[100])

    for engine in EXACT:
        assert_same(answer(engine)[1000][0], one(engine, codes[:500], queries, 4))
    for name, offset in (("codes.npy", 1500), ("skipped.npy", 11_900)):
        content = bytearray((tmp_path / name).read_bytes())
        content[offset] ^= 1
        (tmp_path / name).write_bytes(content)
        for engine in EXACT:
            with pytest.raises(FileFault, match=f"{name}: has a wrong checksum"):
                answer(engine)
        content[offset] ^= 1
        (tmp_path / name).write_bytes(content)


def test_memory_does_not_follow_the_rows():
    def peak(engine, count):
        block, queries = normal(20_000, 8, dtype=np.float16), normal(20, 8, seed=1)
        # All but the first rows of every block are skipped, and as many rows before.
        skipped = (np.arange(start + 50, start + 20_000) for start in range(0, 40_000 * count, 20_000))
        tracemalloc.start()
        engine.search_blocks((block for _ in range(count)), [queries], 10, first=20_000 * count, skipped=skipped)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    peak(EXACT[0], 1)
    assert peak(EXACT[0], 40) < 1.1 * peak(EXACT[0], 8)


def test_cells_are_whole_grid_lines_and_end_where_they_must():
    codes = normal(140_000, 1)
    ends, rows = [], []
    for cell in cells(cut(codes, [5, 90_000]), first=100, stops=[3000, 65_536], skipped=[np.array([2999, 70_000])]):
        assert cell.start % GRID == 0
        assert len(cell.codes) == len(cell.usable) == GRID * -(-cell.stop // GRID) - cell.start
        np.testing.assert_array_equal(cell.codes[cell.usable], codes[cell.rows - 100])
        assert np.isnan(cell.codes[~cell.usable]).all()
        ends.append(cell.stop)
        rows.append(cell.rows)
    assert ends == [3000, 65_536, 131_072, 140_100]
    np.testing.assert_array_equal(np.concatenate(rows), np.setdiff1d(np.arange(100, 140_100), [2999, 70_000]))
