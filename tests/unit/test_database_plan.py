"""Databases as unions of shards: exact sizes, exact overlaps, and nothing cut that need not be."""

import copy
import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nndefense.config import read_schema, validate_config
from nndefense.database.plan import Databases
from nndefense.database.shards import parse_shard_name
from nndefense.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = read_schema(ROOT / "schemas/config.schema.yaml")
CONFIG = validate_config(yaml.safe_load((ROOT / "config.yaml").read_text()), SCHEMA)


def databases(sizes: list[int], prefixes: list[int], overlaps: list[float]) -> Databases:
    config = copy.deepcopy(CONFIG)
    config["pools"]["Targeted"]["sizes"] = sizes
    config["attacks"]["white_box"] |= {"sizes": prefixes, "overlaps": overlaps}
    return Databases(config)


def images(plan: Databases, name: str) -> set[int]:
    rows: set[int] = set()
    for shard in map(parse_shard_name, plan.attack_shards(name)):
        assert rows.isdisjoint(range(*shard))
        rows |= set(range(*shard))
    return rows


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True),
    shares=st.lists(st.integers(0, 8), max_size=4, unique=True),
)
def test_overlaps_are_exact_and_nest(sizes, shares):
    sizes = sorted(8 * size for size in sizes)
    overlaps = [share / 8 for share in shares]
    plan = databases(sizes, sizes, overlaps)
    defence = set(range(sizes[-1]))
    shared = {}
    for name in plan.attack_databases():
        rows = images(plan, name)
        if "-overlap-" in name:
            overlap = float(name.rpartition("-")[2])
            assert len(rows) == sizes[-1]
            assert len(rows & defence) == overlap * sizes[-1]
            shared[overlap] = rows & defence
        else:
            assert rows == set(range(int(name.rpartition("-")[2])))
    ordered = [shared[overlap] for overlap in sorted(shared)]
    assert all(low <= high for low, high in itertools.pairwise(ordered))
    # The defence's own databases stay unions of whole shards.
    stops = {stop for _, stop in plan.shards("Targeted")}
    assert set(sizes) <= stops


def test_shares_where_shards_end_anyway_cut_none():
    assert databases([500, 1000, 2000], [500], [0, 0.25, 0.5]).shards("Targeted") == [
        (0, 500),
        (500, 1000),
        (1000, 2000),
    ]
    assert databases([500, 1000, 2000], [500], [0.125]).shards("Targeted")[0] == (0, 250)


def test_the_whole_database_is_listed_once():
    plan = databases([500, 1000], [500, 1000], [0, 1])
    assert plan.attack_databases() == ["Targeted-500", "Targeted-1000", "Targeted-1000-overlap-0"]
    assert plan.whole == "Targeted-1000"


@pytest.mark.parametrize(
    ("prefixes", "overlaps", "message"),
    [
        ([600], [], "attacks.white_box.sizes: 600 is no size of pool Targeted; allowed: 500, 1000"),
        ([], [0.3333], "attacks.white_box.overlaps: 0.3333 of 1000 images is no whole number of images"),
    ],
)
def test_impossible_databases_are_refused(prefixes, overlaps, message):
    with pytest.raises(ConfigError, match=message):
        databases([500, 1000], prefixes, overlaps)
