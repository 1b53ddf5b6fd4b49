"""Tag lists: words of captions to classes."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import InputError
from nndefense.images.tags import SHIPPED, TagList, imagenet_list, read_tag_list, split_words

FISH = {"tench": ["Tinca tinca"], "tiger shark": [], "tiger": ["Panthera tigris", "big cat"], "crane": ["derrick"]}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A tench.", {"tench"}),
        ("my TINCA-tinca_2024", {"tench"}),
        ("#tench, #fishing", {"tench"}),
        ("tenches and stench", set()),
        ("tinca and another tinca", set()),
        ("a Tiger Shark", {"tiger shark"}),
        ("shark tiger", {"tiger"}),
        ("tiger shark seen by a tiger", {"tiger shark", "tiger"}),
        ("a big cat with a tench", {"tiger", "tench"}),
        ("big, cat", {"tiger"}),
        ("a bi\u00adg c\u200dat", {"tiger"}),
        ("", set()),
    ],
)
def test_whole_words_are_found_longest_first(text, names):
    words = TagList(FISH)
    found = words.find(text)
    assert {words.names[label] for label in found} == names
    assert words.class_of([text]) == (found.pop() if len(names) == 1 else -1)


def test_the_longest_wins_wherever_it_stands_and_from_the_left():
    words = TagList({"army tank": [], "tank suit top": [], "top hat": []})
    assert words.find("army tank suit top hat") == {1}
    assert words.find("army tank top hat") == {0, 2}
    assert TagList({"a b": [], "b c": []}).find("a b c") == {0}


def test_a_caption_that_names_several_classes_names_none():
    words = TagList(FISH)
    assert words.class_of(["a tench and a tiger"]) == -1
    assert words.class_of(["a tench, Tinca tinca"]) == 0
    assert words.class_of(["tench", "lake"]) == 0
    assert words.class_of(["tench", "derrick"]) == -1
    # Tags are no sentence: words do not go on from one to the next.
    assert words.class_of(["big", "cat"]) == -1
    assert words.class_of([]) == -1


def test_a_word_that_classes_share_names_none_of_them_alone():
    words = TagList({"Cardigan": ["corgi"], "cardigan": [], "crane bird": ["crane"], "crane": []})
    assert words.find("my cardigan") == {0, 1}
    assert words.class_of(["my cardigan"]) == -1
    assert words.class_of(["corgi"]) == 0
    assert words.class_of(["a crane"]) == -1
    assert words.class_of(["a crane bird"]) == 2
    assert [words.label_of(name) for name in ("Cardigan", "cardigan", "crane", "CORGI")] == [0, 1, 3, 0]
    with pytest.raises(InputError, match="class 'CARDIGAN' may be each of Cardigan, cardigan; allowed: one of these"):
        words.label_of("CARDIGAN")
    with pytest.raises(InputError, match="class 'wren' is unknown; allowed: a class of the tag list: Cardigan, card"):
        words.label_of("wren")


@pytest.mark.parametrize(
    "word", ["crème brûlée", "Ångström", "हिन्दी किताब", "ΟΔΟΣ", "STRASSE", "한국어", "ﬁsh", "ǰ", "ΐ"]
)
@pytest.mark.parametrize(("listed", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_letters_are_the_same(word, listed, written):
    words = TagList({unicodedata.normalize(listed, word): []})
    for text in (word, word.casefold(), word.upper()):
        assert words.find(f"«{unicodedata.normalize(written, text)}»!") == {0}


def test_the_order_of_marks_does_not_matter():
    assert TagList({"ᾴ": []}).find("α\u0345\u0301") == {0}


def test_marks_belong_to_their_letters():
    assert TagList({"हि": []}).find("हिन्दी") == set()
    assert split_words("हिन्दी किताब") == ("हिन्दी", "किताब")
    assert split_words("Straße") == split_words("STRASSE") == ("strasse",)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.text("abc ", min_size=1, max_size=5), max_size=4))
def test_finding_is_that_of_a_plain_search(parts, words):
    """All places of the longest words first, and so on, each by scanning the whole text."""
    words = [word for word in dict.fromkeys(words) if word.split()]
    expected, rest = set(), list(parts)
    for length in range(7, 0, -1):
        for start in range(len(parts)):
            labels = {n for n, word in enumerate(words) if word.split() == rest[start : start + length]}
            if labels and len(rest[start : start + length]) == length:
                expected |= labels
                rest[start : start + length] = ["-"] * length
    assert TagList({word: [] for word in words}).find(" ".join(parts)) == expected


def test_the_shipped_list_is_what_its_builder_makes():
    assert SHIPPED["imagenet"].read_text(encoding="utf-8") == imagenet_list()
    words = read_tag_list("imagenet")
    assert len(words.names) == 1000
    assert (words.names[0], words.names[217], words.names[999]) == ("tench", "English springer", "toilet tissue")
    assert words.class_of(["Our English springer, 2019"]) == words.class_of(["#englishspringer"]) == 217
    assert words.class_of(["a tiger shark"]) == 3
    # Every class has a word of its own, but the dog and the jacket that are called alike.
    lost = [name for label, name in enumerate(words.names) if words.class_of([name]) != label]
    assert lost == ["Cardigan", "cardigan"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "holds no classes"),
        ("{}", "holds no classes"),
        ('{"tench": "fish"}', "class 'tench' has fish as words"),
        ('{"tench": [1]}', r"class 'tench' has \[1\] as words"),
        ('{"tench": [], "cat": [], "tench": []}', r"is damaged \(twice: tench\)"),
        ('{"tench": ', "is damaged"),
        ('{"tench": ["!"]}', "class 'tench' has the word '!'; allowed: letters and digits"),
        ('{"": []}', "class '' has the word ''"),
    ],
)
def test_a_file_that_is_no_tag_list_gets_one_line(tmp_path, content, words):
    path = tmp_path / "fish.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        read_tag_list(str(path))
    assert "\n" not in str(caught.value)
    path.write_text(json.dumps(FISH))
    assert read_tag_list(str(path)).names == tuple(FISH)


def test_a_list_that_is_not_there_is_named():
    with pytest.raises(InputError, match="tag list imagenett is missing; allowed: imagenet, or the path of a JSON"):
        read_tag_list("imagenett")
