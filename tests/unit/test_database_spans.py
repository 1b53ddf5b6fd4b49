"""Databases on disk: lists that depend on queries and codes alone, however rows are cut, packed and held."""

from itertools import pairwise

import numpy as np
import pytest

import merge_neighbors as merging
from nndefense.core.arrays import read_array, write_arrays
from nndefense.core.errors import FileFault, InputError
from nndefense.database.engines.held import hold
from nndefense.database.engines.stored import Span, search_span
from nndefense.database.engines.trained import train
from nndefense.database.lists import read_ladder, read_lists
from nndefense.database.merge import merge_neighbors
from nndefense.features.bits import pack_signs
from tests.unit.span_cases import ROWS, SKIPPED, K, drawn, write_indexes, write_shards

SIZES = (700, 5000, 66_000, ROWS)
CUTS = ((), (700, 1024, 5000, 40_000), (1, 699, 700, 5000, 65_536, 66_000, 66_999))


@pytest.fixture(scope="module")
def codes():
    """Codes, some of which are equal."""
    found = drawn().astype(np.float16)
    found[[3, 40_000, 66_500]] = found[10]
    return found


@pytest.fixture(scope="module")
def queries(codes):
    """Query sets of different sizes; one query is a code that stands there four times, one is not finite."""
    found = [drawn(rows, seed=rows) for rows in (5, 70, 130)]
    found[0][2] = found[1][69] = codes[10].astype(np.float32)
    found[1][4] = np.nan
    return found


def as_bits(codes):
    return np.concatenate([pack_signs(block.astype(np.float32)) for block in np.array_split(codes, 20)])


def assert_same(found, expected):
    for (ids, distances), (other_ids, other_distances) in zip(found, expected, strict=True):
        assert ids.tobytes() == other_ids.tobytes()
        assert distances.tobytes() == other_distances.tobytes()


@pytest.fixture(scope="module", params=["float16", "bits", "trained"])
def case(request, codes, queries, tmp_path_factory):
    """By a kind of database: from cuts to the files of shards; and the lists of one shard."""
    stored = as_bits(codes) if request.param == "bits" else codes
    trained = train(drawn(4000, seed=9), "IVF8,Flat") if request.param == "trained" else None

    def write(cuts):
        folder = tmp_path_factory.mktemp("shards")
        shards, rows = write_shards(folder, stored, cuts)
        return write_indexes(folder, trained, shards, rows) if trained else shards, rows

    # An index is listed where a shard ends.
    stops = [ROWS] if trained else SIZES
    return write, stops, search_span(Span(*write(())), queries, K, stops, probes=3)


# -- what lists depend on


def brute_force(codes, queries, size, bits):
    """Ids of the nearest usable rows of a query set."""
    usable = np.setdiff1d(np.arange(size), SKIPPED)
    own = codes[usable].astype(np.float64)
    if bits:
        distances = ((queries[:, None] > 0) != (own > 0)).sum(axis=2)
    else:
        distances = ((queries[:, None].astype(np.float64) - own) ** 2).sum(axis=2)
    return usable[np.argsort(distances, axis=1, kind="stable")[:, :K]]


@pytest.mark.parametrize("bits", [False, True])
def test_lists_are_the_nearest_rows_that_have_a_code(codes, queries, tmp_path, bits):
    span = Span(*write_shards(tmp_path, as_bits(codes) if bits else codes, (700, 5000)))
    assert (span.start, span.stop, span.rows, span.bits) == (0, ROWS, ROWS - len(SKIPPED), bits)
    found = search_span(span, queries[:1], K, SIZES[:2])
    for size in SIZES[:2]:
        np.testing.assert_array_equal(found[size][0][0], brute_force(codes, queries[0], size, bits))
    assert set(found) == {*SIZES[:2], ROWS}


@pytest.mark.parametrize("cuts", CUTS[1:])
def test_cuts_into_shards_change_no_byte(case, queries, cuts):
    write, stops, expected = case
    found = search_span(Span(*write(cuts)), queries, K, stops, probes=3)
    for stop in stops:
        assert_same(found[stop], expected[stop])


@pytest.mark.parametrize("bounds", [(700, 40_000), (1, 5000, 65_536, 66_000)])
def test_spans_that_are_merged_answer_as_one(case, queries, bounds):
    write, _, expected = case
    shards, rows = write(sorted({*CUTS[2], *bounds}))
    ends = [int(path.stem.partition("-")[2]) for path in shards]
    edges = [0, *(ends.index(one) + 1 for one in bounds), len(shards)]
    parts = [Span(shards[low:high], rows[low:high]) for low, high in pairwise(edges)]
    found = [search_span(one, queries, K, [one.stop], probes=3)[one.stop] for one in parts]
    assert_same([merge_neighbors(lists, K) for lists in zip(*found, strict=True)], expected[ROWS])


@pytest.mark.parametrize("order", [(0,), (2, 0), (1, 2, 0, 1)])
def test_query_sets_are_answered_by_themselves(case, queries, order):
    write, stops, expected = case
    found = search_span(Span(*write(())), [queries[one] for one in order], K, stops, probes=3)
    for stop in stops:
        assert_same(found[stop], [expected[stop][one] for one in order])


def test_queries_that_are_not_finite_find_nothing(case):
    _, stops, expected = case
    for stop in stops:
        ids, distances = expected[stop][1]
        assert (ids[4] == -1).all()
        assert np.isinf(distances[4]).all()
        assert (ids[5] >= 0).all()


def test_equal_codes_come_in_the_order_of_their_rows(case):
    _, _, expected = case
    ids, distances = (values[2] for values in expected[ROWS][0])
    same = ids[distances == distances[0]]
    assert (np.diff(same) > 0).all()
    assert same[:2].tolist() == [3, 10]
    # Of bits, many more are equal than there are places.
    assert same.tolist() == [3, 10, 40_000, 66_500] or len(same) == K


def test_lists_grow_with_the_database(queries, codes, tmp_path):
    span = Span(*write_shards(tmp_path, codes, ()))
    found = search_span(span, queries, 7, SIZES)
    for low, high in pairwise(SIZES):
        for (fewer, _), (more, distances) in zip(found[low], found[high], strict=True):
            assert ((fewer < low) & (more < high)).all()
            added = more >= low
            kept = np.isfinite(distances) & ~added
            assert all(set(b[k]) <= set(a) for a, b, k in zip(fewer, more, kept, strict=True))
    with pytest.raises(InputError, match="stop 67001 lies behind the last row"):
        search_span(span, queries, 7, [67_001])


def test_a_span_that_starts_within_the_pool_names_rows_of_the_pool(case, queries, codes, tmp_path):
    write, _, expected = case
    shards, rows = write((40_000,))
    late = search_span(Span(shards[1:], rows[1:]), queries, K, [ROWS], probes=3)[ROWS]
    early = search_span(Span(shards[:1], rows[:1]), queries, K, [40_000], probes=3)[40_000]
    assert all(ids[ids >= 0].min() >= 40_000 for ids, _ in late)
    assert_same([merge_neighbors(lists, K) for lists in zip(early, late, strict=True)], expected[ROWS])


# -- in memory


@pytest.mark.parametrize("k", [1, K])
@pytest.mark.parametrize("cuts", [(), CUTS[1]])
def test_what_is_held_answers_as_files_do(case, queries, cuts, k):
    write, _, _ = case
    shards, rows = write(cuts)
    span = Span(shards, rows)
    held = list(hold([], [span]) if span.indexed else hold([span]))
    expected = search_span(span, queries, k, [ROWS], probes=3)[ROWS]
    found = [merge_neighbors([part.search(one, k, 3 if span.indexed else None) for part in held], k) for one in queries]
    assert_same(found, expected)
    usable = np.setdiff1d(np.arange(ROWS), SKIPPED)
    np.testing.assert_array_equal(np.concatenate([part.rows for part in held]), usable)


def test_several_spans_are_held_one_after_the_other(codes, queries, tmp_path):
    shards, rows = write_shards(tmp_path, codes, (700, 1024, 5000))
    apart = [Span(shards[:1], rows[:1]), Span(shards[2:], rows[2:])]
    parts = list(hold(apart))
    found = merge_neighbors([one.search(queries[0], K) for one in parts], K)
    lists = [search_span(one, queries[:1], K, [one.stop])[one.stop][0] for one in apart]
    assert_same([found], [merge_neighbors(lists, K)])
    rows = np.concatenate([one.rows for one in parts])
    assert not ((rows >= 700) & (rows < 1024)).any()


def test_the_set_alone_is_the_same_without_an_order(codes, queries, tmp_path):
    shards, rows = write_shards(tmp_path, codes, ())
    trained = train(drawn(4000, seed=9), "IVF8,Flat")
    (part,) = hold([], [Span(write_indexes(tmp_path, trained, shards, rows), rows)])
    ordered, loose = (np.sort(part.search(queries[2], K, 3, one)[0], axis=1) for one in (True, False))
    np.testing.assert_array_equal(ordered, loose)


# -- many rows without a code


@pytest.mark.parametrize("bits", [False, True])
def test_two_million_rows_without_a_code(tmp_path, bits):
    rows = 2_000_003
    skipped = np.delete(np.arange(rows), [7, 1_000_000, rows - 1])
    codes = np.zeros((rows, 1), np.uint8) if bits else np.zeros((rows, 1), np.float16)
    codes[1_000_000] = 255 if bits else 1
    shards, files = write_shards(tmp_path, codes, (1_500_000,), skipped)
    read = np.concatenate([read_array(path)[0] for path in files])
    np.testing.assert_array_equal(read, skipped)
    assert read.dtype == np.int64
    span = Span(shards, files)
    assert span.rows == 3
    query = np.ones((1, 8 if bits else 1), np.float32)
    ids, distances = search_span(span, [query], 5, [rows])[rows][0]
    assert ids.tolist() == [[1_000_000, 7, rows - 1, -1, -1]]
    assert distances[0, :3].tolist() == [0, 8 if bits else 1, 8 if bits else 1]
    assert [one.rows.tolist() for one in hold([span]) if len(one.rows)] == (
        [[7, 1_000_000, rows - 1]] if bits else [[7], [1_000_000], [rows - 1]]
    )


# -- lists on disk


NEAR = 5.0


def write_lists(path, found, stops):
    """Lists as `search_span.py` writes them."""
    sets = range(len(found[stops[0]]))
    ids, distances = (np.array([[found[stop][one][part] for stop in stops] for one in sets]) for part in (0, 1))
    near = distances[..., 0] < NEAR
    write_arrays(path, stops=np.array(stops), ids=ids, distances=distances, near=near)


def test_lists_of_spans_are_merged_to_those_of_every_size(codes, tmp_path):
    sets, sizes = [drawn(70, seed=1), drawn(70, seed=2)], [700, 5000, 40_000, ROWS]
    shards, rows = write_shards(tmp_path, codes, (700, 3000, 5000, 40_000))
    spans = [Span(shards[low:high], rows[low:high]) for low, high in ((0, 2), (2, 4), (4, 5))]
    paths = [tmp_path / f"{place}.npz" for place in range(3)]
    for path, span, stops in zip(paths, spans, ([700, 3000], [5000, 40_000], [ROWS]), strict=True):
        write_lists(path, search_span(span, sets, K, stops), stops)
    merged = merging.merge(paths, sizes, K)
    whole = tmp_path / "whole.npz"
    write_lists(whole, search_span(Span(shards, rows), sets, K, sizes), sizes)
    expected = read_lists(whole, sizes)
    assert merged["stops"].tolist() == sizes
    for name in ("ids", "distances"):
        assert merged[name].shape == (2, len(sizes), 70, K)
        assert merged[name].tobytes() == expected[name].tobytes()
    # What is near in a span is near in every database that has it.
    np.testing.assert_array_equal(merged["near"], merged["distances"][..., 0] < NEAR)
    assert 0 < merged["near"].sum() < merged["near"].size
    with pytest.raises(InputError, match=r"2.npz: lists of 1 of the sizes 700, 6000"):
        merging.merge(paths, [700, 6000], K)


def test_lists_of_some_sizes_are_read_in_the_order_that_is_asked(tmp_path):
    ids = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    write_arrays(tmp_path / "lists.npz", stops=np.array([500, 1000, 2000]), ids=ids, distances=ids / 2)
    np.testing.assert_array_equal(read_ladder(tmp_path / "lists.npz", [2000, 500]), ids[:, [2, 0]])
    found = read_lists(tmp_path / "lists.npz", [1000])
    np.testing.assert_array_equal(found["distances"], ids[:, [1]] / 2)
    with pytest.raises(FileFault, match=r"lists.npz: has no lists up to row 700, but up to 500, 1,000, 2,000;"):
        read_ladder(tmp_path / "lists.npz", [500, 700])
