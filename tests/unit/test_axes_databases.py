"""Spans and shards of a pool: what covers what, once, and what a larger database leaves alone."""

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.axes.databases import Databases
from nndefense.config import load_config
from nndefense.flow.databases import (
    attacker_lists,
    attacker_shards,
    databases_of,
    kept_shards,
    neighbors_place,
    shards_of,
    shards_within,
    span_names,
    stops_within,
)

RAW = yaml.safe_load((Path(__file__).resolve().parents[2] / "config.yaml").read_text())


quickly = settings(max_examples=60, deadline=None)
SHARES = st.lists(st.integers(0, 8), max_size=4, unique=True)


@st.composite
def pools(draw, shares=SHARES):
    """Databases of any sizes, limits and overlaps; every size may end a span, the largest always does."""
    sizes = [8 * one for one in sorted(draw(st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True)))]
    ends = [one for one in sizes[:-1] if draw(st.booleans())]
    limits = {name: draw(st.integers(5, 400)) for name in ("sample", "shard_rows", "span_rows")}
    return Databases("All", tuple(sizes), tuple(one / 8 for one in draw(shares)), (*ends, sizes[-1]), **limits)


def assert_follow(ranges, start, stop):
    """Ranges follow each other from a row to another."""
    assert [one[0] for one in ranges] == [start, *(one[1] for one in ranges[:-1])]
    assert ranges[-1][1] == stop
    assert all(low < high for low, high in ranges)


@quickly
@given(pools())
def test_shards_follow_each_other_and_respect_limit_and_sample(databases):
    size = databases.sizes[-1]
    assert_follow(databases.shards, 0, size)
    reserve = max((size - round(one * size) for one in databases.overlaps), default=0)
    assert_follow(databases.every, 0, size + reserve)
    assert databases.every[: len(databases.shards)] == databases.shards
    assert all(stop - start <= databases.shard_rows for start, stop in databases.every)
    if databases.sample < databases.every[-1][1]:
        assert not [one for one in databases.every if one[0] < databases.sample < one[1]]
    # Nothing is cut but by a reason.
    wanted = {*databases.sizes, *(round(one * size) for one in databases.overlaps), databases.sample}
    cuts = [stop for _, stop in databases.shards]
    assert all(one in wanted or one % databases.shard_rows == 0 for one in cuts)


@quickly
@given(pools())
def test_spans_cover_all_shards_once_and_stop_where_databases_end(databases):
    spans, every = databases.spans, databases.every
    assert_follow(spans, 0, every[-1][1])
    assert [shard for span in spans for shard in databases.within(span)] == every
    assert all(databases.within(span) for span in spans)
    for start, stop in spans:
        assert not [end for end in databases.ends if start < end < stop]
        assert stop - start <= databases.span_rows or len(databases.within((start, stop))) == 1
        stops = databases.stops((start, stop))
        assert stops == sorted(set(stops))
        assert stops[-1] == stop
        assert all(start < one <= stop for one in stops)
    assert set(databases.sizes) <= {one for span in spans for one in databases.stops(span)}


@quickly
@given(pools())
def test_spans_are_as_long_as_they_may_be(databases):
    for one, more in itertools.pairwise(span for span in databases.spans if span[1] <= databases.sizes[-1]):
        follower = databases.within(more)[0]
        assert one[1] in databases.ends or follower[1] - one[0] > databases.span_rows


@quickly
@given(pools(shares=st.just([])), st.integers(1, 300), st.integers(0, 300))
def test_a_larger_size_of_its_own_leaves_spans_and_shards_alone(databases, more, further):
    sizes = list(databases.sizes)
    for step in (more, further):
        sizes += [sizes[-1] + step] if step else []
    larger = replace(databases, sizes=tuple(sizes), ends=(*databases.ends, sizes[-1]))
    assert larger.shards[: len(databases.shards)] == databases.shards
    assert larger.spans[: len(databases.spans)] == databases.spans
    assert [larger.stops(one) for one in databases.spans] == [databases.stops(one) for one in databases.spans]
    assert [larger.within(one) for one in databases.spans] == [databases.within(one) for one in databases.spans]


@quickly
@given(pools())
def test_lists_of_spans_cover_exactly_the_shards_of_an_attackers_database(databases):
    for database in databases.attacked(databases.sizes):
        listed, shards = databases.lists_of(database), databases.shards_of(database)
        assert len({span for span, _ in listed}) == len(listed)
        covered = [row for (start, _), stop in listed for row in range(start, stop)]
        assert covered == [row for start, stop in shards for row in range(start, stop)]
        assert len(covered) == database.size
        # A list is of a row where a search stops.
        assert all(stop in databases.stops(span) for span, stop in listed)


def test_limits_by_hand():
    databases = Databases("All", (1000, 4000), (0.5,), (4000,), sample=1500, shard_rows=1200, span_rows=2500)
    assert databases.shards == [
        (0, 1000),
        (1000, 1200),
        (1200, 1500),
        (1500, 2000),
        (2000, 2400),
        (2400, 3600),
        (3600, 4000),
    ]
    assert databases.every[-2:] == [(4000, 4800), (4800, 6000)]
    assert databases.spans == [(0, 2400), (2400, 4000), (4000, 4800), (4800, 6000)]
    assert databases.stops((0, 2400)) == [1000, 2000, 2400]
    half = databases.attacked([])[-1]
    assert databases.lists_of(half) == [((0, 2400), 2000), ((4000, 4800), 4800), ((4800, 6000), 6000)]


# -- as a configuration cuts them


def configured(**changes):
    raw = copy.deepcopy(RAW)
    for section, values in changes.items():
        raw[section] = raw[section] | values if isinstance(values, dict) else values
    return load_config(raw)


def test_inner_lists_of_sizes_are_searched_in_one_pass():
    config = configured()
    assert span_names(config, "All") == ["0-8000"]
    assert stops_within(config, "All", "0-8000") == [500, 1000, 2000, 4000, 8000]
    assert shards_within(config, "All", "0-8000") == shards_of(config, "All")
    assert neighbors_place(config, "All") == "0-8000"
    apart = configured(sizes=[500, 1000, [2000, 4000, 8000]])
    assert span_names(apart, "All") == ["0-500", "500-1000", "1000-8000"]
    assert neighbors_place(apart, "All") == "merged"
    larger = configured(sizes=[[500, 1000, 2000, 4000, 8000], 10000])
    assert span_names(larger, "All") == ["0-8000", "8000-10000"]
    assert shards_of(larger, "All") == [*shards_of(config, "All"), "8000-10000"]


def test_a_span_is_no_longer_than_a_job_may_search():
    config = configured(index={"rows_per_job": 3000}, shard_rows=1500)
    assert shards_of(config, "Train") == ["0-1500", "1500-2000", "2000-3000", "3000-4500", "4500-5000"]
    assert span_names(config, "Train") == ["0-3000", "3000-5000"]
    assert stops_within(config, "Train", "3000-5000") == [5000]


def test_lists_of_attackers_are_of_spans_and_their_shards():
    config = configured()
    databases = databases_of(config, "Targeted").attacked([500, 2000])
    for database in databases:
        spans = [span for span, _ in attacker_lists(config, database)]
        shards = [name for span in spans for name in shards_within(config, "Targeted", span)]
        assert set(attacker_shards(config, database)) <= set(shards)
    # What only attackers have is no part of the lists of every size.
    assert span_names(config, "Targeted") == ["0-8000"]
    assert attacker_lists(config, databases[-1]) == [("0-8000", 4000), ("8000-12000", 12000)]


@pytest.mark.parametrize(("keep", "expected"), [(True, []), (False, ["2000-4000", "4000-8000", "2000-5000"])])
def test_features_of_the_sample_are_kept_and_others_where_that_is_wanted(keep, expected):
    config = configured(features={"keep": keep})
    kept, coded = kept_shards(config)
    assert set(expected) <= set(coded)
    assert bool(coded) == bool(expected)
    assert set(shards_of(config, "All", 2000)) <= set(kept)
    assert not set(kept) & set(coded)
    assert set(kept) | set(coded) >= {name for pool in config.pools for name in shards_of(config, pool)}
