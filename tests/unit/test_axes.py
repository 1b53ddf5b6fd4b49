"""Axes as values: names that read back, shards and databases with exact sizes and overlaps."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nndefense.axes.ball import BALLS, LINF, RAW, Ball
from nndefense.axes.cells import Cell, System
from nndefense.axes.databases import Databases
from nndefense.axes.numbers import number_text
from nndefense.axes.queries import CLEAN, Pack
from nndefense.axes.threat import GRAY, KNOWLEDGE, AttackDatabase, Threat
from nndefense.core.errors import ConfigError

names = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True)
budgets = st.floats(1e-9, 1, exclude_min=True)
attackers = st.builds(AttackDatabase, names, st.integers(1, 10**9), st.none() | st.floats(0, 1))
threats = st.one_of(
    st.builds(Threat, st.just("gray_box"), st.none() | names),
    st.just(Threat("black_box")),
    st.builds(lambda database: Threat("white_box", database=database), attackers),
    st.builds(Threat, st.just("adaptive"), names, st.none() | attackers, st.none() | st.sampled_from(KNOWLEDGE)),
)
packs = st.builds(
    Pack,
    st.sampled_from(list(BALLS.values())),
    threats,
    names,
    st.lists(budgets, min_size=1, max_size=4, unique=True).map(tuple),
)


@given(budgets)
def test_numbers_read_back(value):
    assert float(number_text(value)) == value


def test_numbers_stand_as_in_the_configuration():
    values = (0, 0.0, 1, 0.06, 0.125, 1e-05)
    assert [number_text(value) for value in values] == ["0", "0", "1", "0.06", "0.125", "1e-05"]


@given(packs)
def test_names_read_back(pack):
    assert Pack.parse(str(pack)) == pack
    assert Threat.parse(str(pack.threat)) == pack.threat
    assert Ball.parse(str(pack.ball)) == pack.ball
    for queries in pack:
        assert tuple(Pack.parse(str(queries))) == (queries,)
        assert queries.columns() == {
            "attack": pack.attack,
            "setting": str(pack.threat),
            "space": str(pack.ball),
            "epsilon": queries.epsilon,
        }


def test_names_that_results_have():
    one = Pack(RAW, GRAY, "pgd", (0.02, 0.06))
    assert str(one) == "raw01/gray_box/pgd/eps-0.02,0.06"
    assert [str(queries) for queries in one] == ["raw01/gray_box/pgd/eps-0.02", "raw01/gray_box/pgd/eps-0.06"]
    assert str(Pack(LINF, Threat("gray_box", "racnn"), "fgsm", (0.1,))) == "linf/gray_box-racnn/fgsm/eps-0.1"
    database = AttackDatabase("Targeted", 8000, 0.0)
    assert str(Threat("white_box", database=database)) == "white_box-Targeted-8000-overlap-0"
    assert str(Threat("adaptive", "knn", database, "features")) == "adaptive-knn-Targeted-8000-overlap-0-knows-features"
    assert str(Threat("adaptive", "knn", knows="nothing")) == "adaptive-knn-knows-nothing"
    assert str(CLEAN) == "clean"
    (clean,) = CLEAN
    assert clean.columns() == {"attack": "none", "setting": "clean", "space": "none", "epsilon": 0.0}
    assert (clean.member, next(iter(one)).member) == ("clean", "0.02")


@pytest.mark.parametrize(
    "text",
    ["", "dirty", "raw01/gray_box/pgd", "raw01/gray_box/pgd/0.1", "raw02/gray_box/pgd/eps-0.1",
     "raw01/pink_box/pgd/eps-0.1", "raw01/white_box/pgd/eps-0.1", "raw01/black_box-x/pgd/eps-0.1",
     "raw01/adaptive/pgd/eps-0.1", "raw01/adaptive-knn-knows-all/pgd/eps-0.1", "raw01/adaptive-knn-All/pgd/eps-0.1",
     "raw01/gray_box-/pgd/eps-0.1", "raw01/white_box-All/pgd/eps-0.1", "raw01/gray_box/pgd/eps-a"],
)  # fmt: skip
def test_other_names_are_refused(text):
    with pytest.raises(ConfigError):
        Pack.parse(text)


def test_random_starts_depend_on_the_threat_but_not_on_the_database():
    whole, part = (Threat("white_box", database=AttackDatabase("All", size)) for size in (10, 20))
    assert whole.stream == part.stream == "white_box"
    assert Threat("gray_box", "racnn").stream == "gray_box-racnn"
    assert Threat("adaptive", "knn", AttackDatabase("All", 10), "nothing").stream == "adaptive-knn"


def test_systems_read_back():
    voting = System("All", 500, "conv_4_1", 50, "CBW-D", "soft", "knn")
    assert str(voting) == "All/500/50/CBW-D/soft"
    assert System.parse(str(voting), "conv_4_1") == voting
    assert System.parse("none", "none") == System.plain("none") == System("none", 0, "none", 0, "none", "none", "none")
    with pytest.raises(ConfigError, match="expected POOL/SIZE"):
        System.parse("All/500/50", "conv_4_1")
    (clean,) = CLEAN
    assert Cell.of(voting, clean)[7:] == ("none", "clean", "none", 0.0)


def images(databases: Databases, database: AttackDatabase) -> set[int]:
    rows: set[int] = set()
    for shard in databases.shards_of(database):
        assert rows.isdisjoint(range(*shard))
        rows |= set(range(*shard))
    return rows


@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True),
    shares=st.lists(st.integers(0, 8), max_size=4, unique=True),
)
def test_overlaps_are_exact_and_nest(sizes, shares):
    sizes = tuple(sorted(8 * size for size in sizes))
    databases = Databases("Targeted", sizes, tuple(share / 8 for share in shares))
    defence = set(range(sizes[-1]))
    shared = {}
    for database in databases.attacked(sizes):
        rows = images(databases, database)
        assert len(rows) == database.size
        if database.overlap is None:
            assert rows == set(range(database.size))
        else:
            assert len(rows & defence) == database.overlap * sizes[-1]
            shared[database.overlap] = rows & defence
    ordered = [shared[overlap] for overlap in sorted(shared)]
    assert all(low <= high for low, high in itertools.pairwise(ordered))
    # The defence's own databases stay unions of whole shards.
    assert set(sizes) <= {stop for _, stop in databases.shards}


def test_shares_where_shards_end_anyway_cut_none():
    sizes = (500, 1000, 2000)
    assert Databases("All", sizes, (0, 0.25, 0.5)).shards == [(0, 500), (500, 1000), (1000, 2000)]
    assert Databases("All", sizes, (0.125,)).shards[0] == (0, 250)


def test_the_whole_database_is_listed_once():
    databases = Databases("Targeted", (500, 1000), (0, 1))
    attacked = [str(one) for one in databases.attacked([500, 1000])]
    assert attacked == ["Targeted-500", "Targeted-1000", "Targeted-1000-overlap-0"]
    assert str(databases.whole) == "Targeted-1000"
