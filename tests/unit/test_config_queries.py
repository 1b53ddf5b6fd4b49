"""Keys that tell databases from test images: no more neighbours than images, no test image in a pool unasked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.config import load_config
from nndefense.core.errors import ConfigError
from tests.unit.config_cases import SMALL, changed, message


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 120), min_size=1, max_size=4, unique=True), st.integers(1, 120))
def test_k_beyond_a_database_is_refused(sizes, k):
    raw = changed(changed(SMALL, ("sizes",), sizes), ("votes",), {"neighbors": [k]})
    raw = changed(changed(raw, ("base", "neighbors"), k), ("index",), {"neighbors": 120})
    if k <= min(sizes):
        load_config(raw)
    else:
        allowed = f"allowed: at most {min(sizes)}"
        with pytest.raises(
            ConfigError, match=f"votes.neighbors: {k} exceeds the {min(sizes)} images .* All; {allowed}"
        ):
            load_config(raw)


def test_the_attackers_k_beyond_its_database_is_refused():
    raw = changed(changed(SMALL, ("attacks", "methods"), {"pgd": {}, "pgd_fs": {}}), ("sizes",), [60, 100])
    raw["attacks"]["white_box"] = {"pool": "All", "sizes": [60], "neighbors": 60}
    load_config(raw)
    raw["attacks"]["white_box"]["neighbors"] = 61
    assert message(raw) == (
        "attacks.white_box.neighbors: 61 exceeds the 60 images of the attacker's smallest database; allowed: at most 60"
    )


SETS_OF = {
    "the set itself": ("train", {}),
    "by another name": ("same", {"same": {"kind": "shapes", "first": 0, "rows": 500}}),
    "of another size": ("large", {"large": {"kind": "shapes", "first": 0, "rows": 500, "size": 32}}),
    "a part of it": (
        "part",
        {"part": {"kind": "classes_of", "of": {"kind": "shapes", "first": 0, "rows": 500}, "classes": ["circle"]}},
    ),
}


@pytest.mark.parametrize(("name", "more"), SETS_OF.values(), ids=SETS_OF)
def test_test_images_in_a_pool_must_be_asked_for(name, more):
    raw = changed(SMALL, ("queries", "shared"), False)
    raw["images"] |= more
    raw["pools"] = {"All": {"images": [name], "sizes": [50]}}
    assert message(raw) == (
        f"pools.All.images: {name} has images of queries.images (train), which would be neighbours of their own; "
        "allowed: other images, or queries.shared: true"
    )
    raw["queries"]["shared"] = True
    load_config(raw)


def test_other_images_of_the_same_kind_need_not_be_asked_for():
    raw = changed(SMALL, ("queries", "shared"), ...)
    raw["images"]["other"] = {"kind": "shapes", "first": 1000, "rows": 500}
    raw["pools"] = {"All": {"images": ["other"]}}
    load_config(raw)
    assert "nothing, copies, near" in message(changed(raw, ("queries", "leave_out"), "all"))
