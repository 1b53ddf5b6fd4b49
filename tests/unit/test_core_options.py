"""Options: declared once, checked when an object is made, and read from the source alike."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, create_model

from nndefense.core.errors import ConfigError
from nndefense.core.options import (
    STRICT,
    Count,
    NotNegative,
    Options,
    Positive,
    Share,
    Whole,
    allowed,
    read_options,
    read_summary,
)
from nndefense.core.sources import source_tree

STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Inner(Options):
    """A part."""

    noun: ClassVar[str] = "part"

    width: Annotated[Positive | None, Field(description="Width.")] = None


@dataclass(frozen=True, kw_only=True)
class Base(Options):
    """Base of them."""

    noun: ClassVar[str] = "attack"

    restarts: Annotated[Count, Field(description="Random starts.")] = 1


@dataclass(frozen=True, kw_only=True)
class Sample(Base):
    """Some options,
    one of each sort.

    More about them.
    """

    name: Annotated[str, Field(description="Required.")]
    steps: Annotated[Count, Field(description="Steps.")] = STEPS
    seed: Annotated[Whole, Field(description="Seed.")] = 0
    scale: Annotated[Positive, Field(description="Scale.")] = 5 / 2
    gamma: Annotated[NotNegative, Field(description="Weight.")] = 0.0
    share: Annotated[Share, Field(description="Share.")] = 1
    direction: Annotated[Literal["sign", "l2"], Field(description="Which.")] = "sign"
    hidden: Annotated[list[Count], Field(description="Widths.")] = field(default_factory=list)
    inner: Annotated[Inner, Field(description="Part.")] = Inner()


@dataclass(frozen=True, kw_only=True)
class Fixed(Base):
    """One without its base's option."""

    restarts: int = field(default=1, init=False)


class Plain:
    """Options of a plain class."""

    def __init__(self, root: str, size: Annotated[Count | None, Field(description="Side.")] = None, *, first: Whole):
        self.root, self.size, self.first = root, size, first


HERE = f"{__name__}:"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "attack option steps is 0; allowed: an integer >= 1"),
        ({"steps": 1.0}, "attack option steps is 1.0; allowed: an integer >= 1"),
        ({"steps": True}, "attack option steps is True; allowed: an integer >= 1"),
        ({"restarts": "2"}, "attack option restarts is '2'; allowed: an integer >= 1"),
        ({"seed": -1}, "attack option seed is -1; allowed: an integer >= 0"),
        ({"scale": 0}, "attack option scale is 0; allowed: a number > 0"),
        ({"scale": float("inf")}, "attack option scale is inf; allowed: a number > 0"),
        ({"gamma": float("nan")}, "attack option gamma is nan; allowed: a number >= 0"),
        ({"share": 1.5}, "attack option share is 1.5; allowed: a number >= 0 and <= 1"),
        ({"direction": "up"}, "attack option direction is 'up'; allowed: sign, l2"),
        ({"hidden": [3, 0]}, "attack option hidden is [3, 0]; allowed: a list, each an integer >= 1"),
        ({"inner": {"width": 1}}, "attack option inner is {'width': 1}; allowed: a mapping"),
        ({"name": 3}, "attack option name is 3; allowed: text"),
    ],
)
def test_values_out_of_range_are_named(options, message):
    with pytest.raises(ConfigError) as caught:
        Sample(**{"name": "x", **options})
    assert str(caught.value) == message


def test_parts_are_checked_as_themselves():
    assert Sample(name="x", inner=Inner(width=2)).inner.width == 2
    with pytest.raises(ConfigError, match="part option width is 0; allowed: a number > 0 or null"):
        Inner(width=0)


def test_source_and_class_declare_the_same():
    read = read_options(f"{HERE}Sample")
    made = Sample(name="x")
    assert list(read) == [
        "restarts",
        "name",
        "steps",
        "seed",
        "scale",
        "gamma",
        "share",
        "direction",
        "hidden",
        "inner",
    ]
    assert read["name"][1] is ...
    for name, (_, default) in read.items():
        if name not in ("name", "inner"):
            assert default == getattr(made, name)
    assert read["inner"][1].width is None


@given(st.one_of(st.integers(-2, 3), st.floats(), st.booleans(), st.text(max_size=2), st.none()))
def test_source_and_class_allow_the_same(value):
    model = create_model("Model", __config__=STRICT, **read_options(f"{HERE}Sample"))
    for name in ("steps", "seed", "scale", "gamma", "share", "direction", "restarts"):
        options = {"name": "x", name: value}
        try:
            Sample(**options)
        except ConfigError:
            with pytest.raises(ValidationError):
                model(**options)
        else:
            model(**options)


def test_options_that_a_subclass_fixes_are_none():
    assert read_options(f"{HERE}Fixed") == {}
    assert Fixed().restarts == 1


def test_arguments_of_a_plain_class():
    read = read_options(f"{HERE}Plain")
    assert {name: default for name, (_, default) in read.items()} == {"root": ..., "size": None, "first": ...}


def test_summaries_are_the_first_paragraph():
    assert read_summary(f"{HERE}Sample") == "Some options, one of each sort."


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class Wrong:\n    steps: unknown = 1\n", "declaration names 'unknown', which is no constant"),
        ("class Wrong:\n    steps: int = unknown\n", "declaration names 'unknown', which is no constant"),
        ("class Other:\n    pass\n", "module 'made_options' has no class 'Wrong'"),
    ],
)
def test_declarations_that_cannot_be_read(tmp_path: Path, monkeypatch, source, message):
    monkeypatch.syspath_prepend(tmp_path)
    read_options.cache_clear()
    source_tree.cache_clear()
    (tmp_path / "made_options.py").write_text(source)
    with pytest.raises(ConfigError, match=message):
        read_options("made_options:Wrong")


def test_a_module_that_is_not_there():
    with pytest.raises(ConfigError, match="module 'nndefense_nowhere' is not there"):
        read_options("nndefense_nowhere:Wrong")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Count, "an integer >= 1"),
        (Share, "a number >= 0 and <= 1"),
        (Count | None, "an integer >= 1 or null"),
        (bool, "true or false"),
        (list[Literal["a", "b"]], "a list of a, b"),
        (Annotated[list[float], Field(min_length=3, max_length=3)], "a list of 3, each a number"),
        (Annotated[list[str], Field(min_length=2)], "a list of 2 or more, each text"),
        (list[Count | list[Count]], "a list, each an integer >= 1 or a list of such"),
        (Annotated[str, Field(pattern="^[a-z]+$")], "text of the form [a-z]+"),
        (dict[str, int], "a mapping"),
    ],
)
def test_what_is_allowed_in_words(annotation, words):
    model = create_model("Model", value=(annotation, ...))
    assert allowed(model.model_fields["value"]) == words


def test_words_to_be_typed_can_be_quoted():
    model = create_model("Model", value=(Literal["a", None], ...))
    assert allowed(model.model_fields["value"], quote="`") == "`a`, `null`"
