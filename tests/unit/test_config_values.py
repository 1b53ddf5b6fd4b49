"""Every value of a configuration, changed: it means one thing and has one form, or one line names its key."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.config import load_config
from nndefense.config.checks_names import FOLDERS
from nndefense.config.files import check_files
from nndefense.core.errors import ConfigError
from nndefense.core.params import Params
from nndefense.core.text import visible
from nndefense.flow.rows import all_files

from .config_cases import SMALL, changed, message

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
LOADED = load_config(DEFAULT)


def leaves(part: object, path: tuple = ()) -> Iterator[tuple[tuple, object]]:
    """Ways to every value that holds no others, and to lists of such."""
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else None
    if inside is None:
        yield path, part
        return
    if isinstance(part, list) and part and not isinstance(part[0], dict | list):
        yield path, part
    for key, value in inside:
        yield from leaves(value, (*path, key))


LEAVES = list(leaves(DEFAULT))
NUMBERS = [(path, value) for path, value in LEAVES if type(value) in (int, float)]
WHOLE = [(path, value) for path, value in NUMBERS if float(value).is_integer()]
NAN = float("nan")
CHANGES = [NAN, float("inf"), -1, 0, -0.0, 2.5, 1e300, 1e-300, 10**30, 10**9, "x y", "1e-3", " x", "a\n.. include:: x",
           "\x1b[31m", True, None, "no", "x" * 2000]  # fmt: skip


def plain(value: object) -> Iterator[object]:
    """Everything within a loaded configuration that is no mapping and no list."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    if inside is None:
        yield value
    for one in inside or ():
        yield from plain(one)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(LEAVES), st.sampled_from([*CHANGES, "twice", "as float"]))
def test_a_changed_value_is_in_normal_form_or_its_key_is_named(leaf, change):
    path, value = leaf
    if change == "twice":
        change = [*value, value[0]] if isinstance(value, list) else [value, value]
    elif change == "as float":
        change = float(value) if type(value) is int else change
    raw = changed(DEFAULT, path, change)
    before = repr(raw)
    try:
        loaded = load_config(raw)
    except ConfigError as error:
        told = str(error)
        assert "\n" not in told
        assert len(told) < 600
        assert any(str(key) in told for key in [one for one in path if isinstance(one, str)][-2:])
    else:
        for one in plain(loaded.model_dump()):
            assert not isinstance(one, float) or one == 0 or 1e-30 <= abs(one) <= 1e30
            assert not isinstance(one, str) or visible(one) == one == one.strip()
            assert not isinstance(one, int) or abs(one) <= 1 << 53
    assert repr(raw) == before


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(WHOLE))
def test_equal_numbers_written_differently_are_one(leaf):
    """1, 1.0 and 1.0e+0 give equal configurations, parameters and names of files."""
    path, value = leaf
    one, other = (load_config(changed(DEFAULT, path, kind(value))) for kind in (int, float))
    assert repr(one) == repr(other) == repr(LOADED)


def test_equal_numbers_give_equal_files_and_parameters():
    raw = changed(DEFAULT, ("attacks", "epsilons"), [[1, 0.06], 0.02, 0.04])
    same = changed(DEFAULT, ("attacks", "epsilons"), [[1.0, 0.06], 0.02, 0.04])
    first, second = (load_config(changed(one, ("attacks", "white_box", "overlaps"), [0.0, 1])) for one in (raw, same))
    assert all_files(first) == all_files(second)
    tuned = [
        load_config(changed(DEFAULT, ("defenses", "low_pass", "tune", "weight"), [value, 2])) for value in (1, 1.0)
    ]
    first, second = (repr(Params("script", "code", tune=one.defenses["low_pass"].tune)) for one in tuned)
    assert first == second
    assert "1.0, 2.0" in first


@pytest.mark.parametrize("twice", [[1, 1.0], [1.0, 1], [0.06, 6e-2], [0.5, [0.5]]])
def test_equal_numbers_are_one_budget(twice):
    assert "stands there twice" in message(changed(SMALL, ("attacks", "epsilons"), [*twice, 0.06][:2]))


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [("attacks", "epsilons"), ("attacks", "linf", "epsilons"), ("defenses", "x", "tune")])
def test_numbers_that_are_none_are_refused_however_deep(value, place):
    raw = changed(SMALL, ("attacks", "linf"), {"methods": {"fgsm": {}}})
    raw |= {"defenses": {"x": {"kind": "low_pass"}}, "validation": {"images": "train"}}
    raw = changed(raw, place, {"weight": [0.5, value]} if place[-1] == "tune" else [0.06, [value]])
    assert message(raw).startswith(".".join(place))


@pytest.mark.parametrize(
    ("key", "words"),
    [(123, "a number"), (True, "yes or no"), (False, "yes or no"), (None, "null"), (1.5, "a number")],
)
def test_names_that_yaml_takes_for_something_else_are_told(key, words):
    raw = changed(SMALL, ("models", key), SMALL["models"]["small"])
    assert message(raw) == f"models: the name {key!r} is no text; allowed: text, in quotes where YAML reads {words}"
    quoted = changed(SMALL, ("models", "123"), SMALL["models"]["small"])
    assert "123" in load_config(quoted).models


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [
        (("dataset",), "no", "dataset: False is not allowed; allowed: text, in quotes"),
        (("dataset",), "2024-01-01", "dataset: datetime.date(2024, 1, 1) is not allowed; allowed: text, in quotes"),
        (("models", "small", "train", "learning_rate"), "1e-3",
         "models.small.train.learning_rate: '1e-3' is not allowed; allowed: a number > 0, written 0.001 "
         "without quotes"),
        (("queries", "count"), "1.5e+1", None),
        (("queries", "count"), "1.05e+1", "queries.count: 10.5 is not allowed; allowed: an integer >= 1 or null"),
    ],
)  # fmt: skip
def test_what_yaml_makes_of_a_word_is_told(path, text, told):
    raw = changed(SMALL, path, yaml.safe_load(text))
    if told is None:
        assert load_config(raw).queries.count == 15
    else:
        assert message(raw) == told


def test_a_key_that_a_file_has_twice_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("sizes: [1]\nattacks:\n  epsilons: [0.1]\n  batch: 2\n  epsilons: [0.2]\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 5: attacks\.epsilons stands there twice; allowed: each"):
        check_files([path])
    path.write_text("a: &x {b: 1}\nc: {<<: *x, b: 2}\nd: [*x, *x]\n")
    check_files([path, tmp_path / "absent.yaml", *ROOT.glob("config/*.yaml"), *ROOT.glob("config/ablations/*.yaml")])
    path.write_text("a: [1\n")
    check_files([path])


def test_folders_of_results_are_no_names_of_runs():
    """All of them that rules write to."""
    rules = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "rules").glob("*.smk")))
    found = {part.partition("/")[0] for part in rules.split("<results>/")[1:] if "/" in part.split('"')[0]}
    found |= {part.partition("/")[0] for part in rules.split("{RESULTS}/")[1:]}
    plain_names = {name for name in found if name.isidentifier() and "\n" not in name}
    assert len(plain_names) > 15
    assert plain_names <= set(FOLDERS)
    assert (
        message({**SMALL, "run": "images"}) == "run: 'images' is a folder of the run without a name; allowed: any other"
    )


def test_whole_numbers_stay_what_they_were():
    assert math.copysign(1, load_config(changed(DEFAULT, ("validation", "loss"), -0.0)).validation.loss) == 1
    assert copy.deepcopy(DEFAULT) == DEFAULT
