"""Parts of other image sets, and how the configuration names them and the sets of retrieval benchmarks."""

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.config import load_config
from nndefense.config.document import schema
from nndefense.core.errors import ConfigError, InputError
from nndefense.images.classes_of import ClassesOf
from nndefense.images.description import list_set, open_described, open_options
from tests.unit.config_cases import SMALL, message
from tests.unit.image_cases import put, rows_of, write_birds

DRAWN = {"kind": "shapes", "first": 3, "rows": 60, "content": "web", "size": 16}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True), st.booleans())
def test_a_part_has_the_images_of_its_classes(labels, by_name):
    whole = open_options(DRAWN)
    columns = whole.manifest()
    rows = [row for row, label in enumerate(columns["label"]) if label in labels]
    wanted = [whole.class_names[label] if by_name else label for label in labels]
    if not rows:
        with pytest.raises(InputError, match="none of 60 images is of the classes"):
            ClassesOf(DRAWN, wanted).manifest()
        return
    part = ClassesOf(DRAWN, wanted)
    assert len(part) == len(rows)
    assert part.class_names == whole.class_names
    for name, values in part.manifest().items():
        assert np.array_equal(values, columns[name][rows])
    chosen = [len(rows) - 1, 0]
    assert np.array_equal(part.read(chosen).images, whole.read([rows[one] for one in chosen]).images)


@pytest.fixture
def animals(tmp_path):
    for place, name in enumerate(("cat/1", "cat/2", "cow/1", "cow/2", "dog/1")):
        put(tmp_path / f"animals/{name}.jpg", 40 * place)
    return {"kind": "folder", "root": str(tmp_path / "animals"), "size": 16}


def test_skipped_images_of_a_part_are_those_of_its_rows(animals):
    (Path(animals["root"]) / "cow/1.jpg").write_bytes(b"")
    part = ClassesOf(animals, ["dog", "cow"])
    assert rows_of(part) == [("cow/1.jpg", 1, "cow"), ("cow/2.jpg", 1, "cow"), ("dog/1.jpg", 2, "dog")]
    assert part.read([2, 0, 1]).skipped == {1: "empty file"}
    with pytest.raises(InputError, match=r"rows must be in 0 .. 2, got 3 .. 3"):
        part.read([3])
    part.manifest()["label"][:] = 7
    assert part.manifest()["label"].tolist() == [1, 1, 2]


def test_a_part_of_a_part(animals):
    inner = {"kind": "classes_of", "of": animals, "classes": ["dog", 0]}
    part = open_options({"kind": "classes_of", "of": inner, "classes": [2]})
    assert rows_of(part) == [("dog/1.jpg", 2, "dog")]
    with pytest.raises(InputError, match="none of 3 images is of the classes cow"):
        ClassesOf(inner, ["cow"]).manifest()


def test_images_without_a_label_are_in_no_part(tmp_path, animals):
    put(Path(animals["root"]) / "loose.jpg", 5)
    assert len(open_options(animals)) == 6
    assert len(ClassesOf(animals, [0, 1, 2])) == 5


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["cat", "horse"], "classes_of: class 'horse' is unknown; allowed: 0 to 2, or a name: cat, cow, dog$"),
        ([3], "classes_of: class 3 is unknown; allowed: 0 to 2"),
        ([-1], "classes_of: class -1 is unknown"),
        (["0"], "classes_of: class '0' is unknown"),
        (["cow", 0, 1], r"classes_of: class 1 \(cow\) stands there twice; allowed: each once"),
    ],
)
def test_classes_that_the_set_does_not_have_are_named(animals, classes, words):
    with pytest.raises(ConfigError, match=words):
        ClassesOf(animals, classes).manifest()
    with pytest.raises(ConfigError, match="`of` has no `kind`"):
        ClassesOf({"root": "x"}, classes)


def test_a_name_that_two_classes_share_is_refused(animals, monkeypatch):
    whole = open_options(animals)
    whole.class_names = ("crane", "cow", "crane")
    monkeypatch.setattr("nndefense.images.classes_of.open_options", lambda _: whole)
    with pytest.raises(ConfigError, match="classes 0, 2 are all called 'crane'; allowed: one of these"):
        ClassesOf(animals, ["crane"]).manifest()
    assert len(ClassesOf(animals, [2, "cow"])) == 3


def test_a_described_part_is_opened_again_as_it_was_listed(animals, tmp_path):
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    options = {"kind": "classes_of", "of": animals | {"size": None}, "classes": ["cow"]}
    for name in ("cat/1", "cow/1", "cow/2"):
        put(Path(animals["root"]) / f"{name}.jpg", len(name) * 9, 40, 40)
    assert list_set("cows", options, *files)["size"] == 40
    before = open_options(options)
    rows, images = rows_of(before), before.read([1, 0]).images
    for name in ("cat/0", "cow/0", "cow/3"):
        put(Path(animals["root"]) / f"{name}.jpg", 9, 50, 50)
    again = open_described(files[0])
    assert rows_of(again) == rows
    assert np.array_equal(again.read([1, 0]).images, images)
    (Path(animals["root"]) / "cow/1.jpg").unlink()
    assert again.read([1, 0]).skipped == {1: "missing"}


def test_a_described_part_of_drawn_images_is_found_by_their_numbers(tmp_path):
    files = tmp_path / "set.json", tmp_path / "manifest.parquet"
    options = {"kind": "classes_of", "of": DRAWN, "classes": [0, 3]}
    about = list_set("few", options, *files)
    assert (about["size"], about["resize"], about["crop"]) == (16, None, "center")
    again, part = open_described(files[0]), open_options(options)
    assert rows_of(again) == rows_of(part)
    assert np.array_equal(again.read([3, 0]).images, part.read([3, 0]).images)


# -- in the configuration

BENCHMARKS = {
    "birds": {"kind": "cub200", "root": "CUB_200_2011", "size": 224, "resize": 256, "part": "last_classes"},
    "cars": {"kind": "cars196", "root": "/elsewhere/cars", "size": 224, "crop": "none"},
    "products": {"kind": "online_products", "root": "Stanford_Online_Products", "size": 32, "label": "category"},
    "few": {"kind": "classes_of", "of": {"kind": "folder", "root": "mine", "size": 32}, "classes": ["cat", 3]},
    "fewer": {
        "kind": "classes_of",
        "of": {"kind": "classes_of", "of": {"kind": "cub200", "root": "$SOMEWHERE/birds", "size": 64}, "classes": [1]},
        "classes": [1],
    },
}


def with_images(images: dict) -> dict:
    return {**SMALL, "images": {**SMALL["images"], **images}}


def test_paths_of_nested_sets_start_from_the_data_folder(monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "deep")
    raw = {**with_images(BENCHMARKS), "data": "/data"}
    before = copy.deepcopy(raw)
    found = load_config(raw).images
    assert raw == before
    assert found["birds"].root == "/data/CUB_200_2011"
    assert found["cars"].root == "/elsewhere/cars"
    assert found["few"].of.root == "/data/mine"
    assert found["fewer"].of.of.root == "/data/deep/birds"
    assert [found[name].kinds for name in ("cars", "few", "fewer")] == [
        ["cars196"],
        ["classes_of", "folder"],
        ["classes_of", "classes_of", "cub200"],
    ]
    jsonschema.validate(raw, json.loads(schema()))


def test_a_set_is_opened_from_what_the_configuration_says(animals, tmp_path):
    birds = write_birds(tmp_path / "CUB_200_2011")
    nested = {"kind": "classes_of", "of": {"kind": "cub200", "root": birds.name, "size": 16}, "classes": [1, 0]}
    images = {"cows": {"kind": "classes_of", "of": animals, "classes": ["cow"]}, "some": nested}
    config = load_config({**with_images(images), "data": str(birds.parent)})
    opened = {name: open_options(json.loads(json.dumps(config.images[name].model_dump()))) for name in images}
    assert [len(one) for one in opened.values()] == [2, 3]
    assert opened["some"].read([2]).skipped == {}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("birds", {"size": None}, "images.birds.size: None is not allowed; allowed: an integer >= 8"),
        ("birds", {"part": "half"}, "images.birds.part: 'half' is not allowed; allowed: all, train, test, first_cl"),
        ("products", {"part": "train"}, "images.products.part: 'train' is not allowed; allowed: all, first_classes"),
        ("products", {"label": "x"}, "images.products.label: 'x' is not allowed; allowed: product, category"),
        ("cars", {"label": "product"}, "images.cars: 'label' belongs to kind online_products and webdataset, not"),
        ("few", {"classes": []}, "images.few.classes: [] is empty; allowed: a list, each text or an integer >= 0"),
        ("few", {"classes": [-1]}, "images.few.classes.0: -1 is not allowed; allowed: text or an integer >= 0"),
        ("few", {"classes": [True]}, "images.few.classes.0: True is not allowed; allowed: text or an integer >= 0"),
        ("few", {"root": "x"}, "images.few: 'root' belongs to kind folder and"),
        ("few", {"of": "mine"}, "images.few.of: 'mine' is not allowed; allowed: a mapping"),
        ("few", {"of": {"root": "x"}}, "images.few.of: missing key 'kind'"),
        ("few", {"of": {"kind": "movies"}}, "images.few.of.kind: 'movies' is not allowed; allowed: shapes, folder, "),
        ("few", {"of": {"kind": "folder"}}, "images.few.of: missing key 'root'"),
        ("few", {"of": {"kind": "folder", "root": "x", "part": "all"}}, "images.few.of: 'part' belongs to kind cub"),
        ("few", {"of": {"kind": "folder", "root": "x", "size": 2}}, "images.few.of.size: 2 is not allowed; allowed: "),
        ("few", {"of": BENCHMARKS["few"] | {"of": {"kind": "folder"}}}, "images.few.of.of: missing key 'root'"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(name, changes, expected):
    assert expected in message(with_images({name: {**BENCHMARKS[name], **changes}}))


def test_a_part_of_itself_gets_one_line():
    part = {"kind": "classes_of", "classes": [0]}
    part["of"] = part
    assert message(with_images({"few": part})).startswith("images.few.of")
