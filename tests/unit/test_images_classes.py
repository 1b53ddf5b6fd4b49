"""Labels mean the same wherever sets and networks are joined: classes are compared by name, or the join is refused."""

import argparse
import io
import json
import shutil
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import build_pool
import draw_task
import evaluate_model
import make_attack_set
import make_clean_set
import train_model
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.command import Job
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.tables import TableReader, read_table
from nndefense.images.classes import ClassList, check_network, check_tags
from nndefense.images.description import list_set, open_options
from nndefense.images.tags import TagList
from tests.unit.image_cases import put
from tests.unit.tar_cases import sample, write_samples

NAMES = ("bird", "café", "Ängström", "cat", "naïve dog", "ñu")
FORMS = ("NFC", "NFD")


def class_list(*names: str, origin="ranks", owner="image set test") -> ClassList:
    return ClassList(owner, names, origin)


def listed(root: Path, name: str, files, **options) -> dict:
    """set.json of a folder set; files: paths from its root."""
    for file in files:
        (root / name / file).parent.mkdir(parents=True, exist_ok=True)
        (root / name / file).touch()
    return list_set(
        name, {"kind": "folder", "root": str(root / name), "size": 8, **options}, *paths_of(root, name).values()
    )


def paths_of(root: Path, name: str) -> dict[str, str]:
    return {"description": str(root / f"{name}.json"), "manifest": str(root / f"{name}.parquet")}


def labels_by_name(root: Path, name: str) -> dict[str, int]:
    """Label of each image by the folder that it lies in, as it reads."""
    found = read_table(paths_of(root, name)["manifest"], "source", "label")
    folders = [unicodedata.normalize("NFC", source.split("/")[0]) for source in found["source"]]
    return dict(zip(folders, found["label"].tolist(), strict=True))


some_names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_labels_agree_by_name_or_the_join_is_refused(data):
    sides, mapped = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("train", "test"):
            names = data.draw(some_names)
            stored = [unicodedata.normalize(data.draw(st.sampled_from(FORMS)), one) for one in names]
            mapped[name] = data.draw(st.booleans())
            given = {one: label for label, one in enumerate(data.draw(st.permutations(names)))}
            options = {"classes": given} if mapped[name] else {}
            sides[name] = listed(Path(folder), name, [f"{one}/1.png" for one in stored], **options)
        train, test = (labels_by_name(Path(folder), name) for name in sides)
    agree = all(train[name] == test[name] for name in train.keys() & test.keys())
    complete = train.keys() == test.keys()
    test_side, train_side = (ClassList.of_set(sides[name]) for name in ("test", "train"))
    if agree and (complete or any(mapped.values())):
        test_side.check_same(train_side, "queries.images")
        return
    with pytest.raises(InputError, match=r"^queries\.images: ") as caught:
        test_side.check_same(train_side, "queries.images")
    assert "\n" not in str(caught.value)


def test_a_class_that_a_side_lacks_shifts_no_label_unseen(tmp_path):
    train = listed(tmp_path, "train", ["a/1.png", "b/1.png", "c/1.png"])
    test = listed(tmp_path, "test", ["a/1.png", "c/1.png"])
    words = r"^queries: image set test has no class 'b', which is label 1 of image set train; allowed: the same classes"
    for one, other in ((train, test), (test, train)):
        with pytest.raises(InputError, match=words):
            ClassList.of_set(one).check_same(ClassList.of_set(other), "queries")
    words = (
        r"^queries: image set test has 2 classes \(a, c\); allowed: 3 \(`classes`\), .* in the `classes` of a folder$"
    )
    with pytest.raises(InputError, match=words):
        ClassList.of_set(test).check_count(3, "queries")
    mapped = ClassList.of_set(listed(tmp_path, "test", [], classes={"a": 0, "c": 2}))
    mapped.check_count(3, "queries")
    mapped.check_same(ClassList.of_set(train), "queries")
    swapped = ClassList.of_set(listed(tmp_path, "test", [], classes={"a": 0, "c": 1}))
    with pytest.raises(InputError, match="class 'c' is label 1 of image set test and 2 of image set train"):
        swapped.check_same(ClassList.of_set(train), "queries")


def test_a_folder_called_images_is_no_class_of_its_own(tmp_path):
    about = ClassList.of_set(listed(tmp_path, "val", ["images/1.png", "images/2.png"]))
    for classes, allowed in ((10, r"10 \(`classes`\)"), (None, "at least 2")):
        with pytest.raises(InputError, match=rf"image set val has 1 class \(images\); allowed: {allowed}"):
            about.check_count(classes, "queries.images")


def test_names_that_are_not_known_are_compared_with_nothing():
    nothing = class_list("", "", "c", origin="list")
    nothing.check_same(class_list("a", "b", "c"), "key")
    nothing.check_same(None, "key")
    with pytest.raises(InputError, match="has no class 'd', which is label 2 of image set test"):
        class_list("a", "b", "d").check_same(class_list("", "", "c", origin="list", owner="network x"), "key")
    # Published lists call several classes the same.
    twice = class_list("crane", "lark", "crane", origin="list")
    twice.check_same(twice, "key")
    with pytest.raises(InputError, match="class 'lark' is label 1"):
        twice.check_same(class_list("lark", "crane", "crane", origin="list"), "key")


def test_labels_say_where_they_come_from(tmp_path):
    write_samples(tmp_path / "names.tar", sample(1, animal="cow"), sample(2, animal=unicodedata.normalize("NFD", "ñu")))
    write_samples(tmp_path / "numbers.tar", sample(1, animal=0), sample(2, animal=2))
    for kind, origin, names in (
        ("names", "ranks", ["cow", "ñu"]),
        ("numbers", "list", ["class 0", "class 1", "class 2"]),
    ):
        options = {"kind": "webdataset", "pattern": str(tmp_path / f"{kind}.tar"), "size": 16, "label": "animal"}
        about = list_set(kind, options, *paths_of(tmp_path, kind).values())
        assert (about["labels"], about["class_names"]) == (origin, names)
    assert ClassList.of_set(about).names == ("", "", "")
    part = {"kind": "classes_of", "of": options | {"pattern": str(tmp_path / "names.tar")}, "classes": ["ñu"]}
    assert list_set("part", part, *paths_of(tmp_path, "part").values())["labels"] == "ranks"
    decomposed = unicodedata.normalize("NFD", "ñu")
    assert TagList({"cow": [], decomposed: []}).names == ("cow", "ñu")
    assert len(open_options(part | {"classes": [decomposed]})) == 1
    with pytest.raises(InputError, match="class 'ñu' stands there twice"):
        TagList({"ñu": [], decomposed: []})


def test_one_class_in_two_spellings_and_names_that_break_lines_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="two folders 'café', spelled with other code points; allowed: each class once"
    ):
        listed(tmp_path, "twice", [f"{unicodedata.normalize(form, 'café')}/1.png" for form in FORMS])
    for number, name in enumerate(("a\nb", "a\u2028b", "a\x1bb", "a\udcff")):
        with pytest.raises(
            InputError, match=r"has the folder 'a\\.*'; allowed: names of classes in UTF-8, on one line"
        ) as no:
            listed(tmp_path, f"broken{number}", [f"{name}/1.png", "c/1.png"])
        assert "\n" not in str(no.value)


# -- in jobs


class Place:
    """A folder of sets of small images of two shades, in which scripts run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, *classes: str, **options) -> None:
        for number, one in enumerate(classes):
            for place in range(3):
                put(self.folder / name / one / f"{place}.jpg", 60 * number + place)
        root = str(self.folder / name)
        list_set(name, {"kind": "folder", "root": root, "size": 16, **options}, *paths_of(self.folder, name).values())

    def run(self, script, **options) -> str:
        log = io.StringIO()
        script.main(argparse.Namespace(**{"seed": 1, "threads": 1, "skip_limit": 0.0} | options), Job(log, 0, 1))
        return log.getvalue()

    def draw(self, name: str, classes: int = 3, **options) -> str:
        """The query set of an image set."""
        output = str(self.folder / f"{name}.npz")
        own = {"count": None, "key": "queries", "task": [], "without": []} | options
        self.run(make_clean_set, output=output, classes=classes, **paths_of(self.folder, name), **own)
        return output

    def train(self, name: str, classes: int = 3) -> str:
        """model.json of a network that is trained on an image set."""
        recipe = {"images": name, "epochs": 1, "batch": 9, "learning_rate": 0.1, "weight_decay": 0.0, "flip": False}
        recipe |= {"threads": 1, "initial": None, "method": "standard"}
        model = {"architecture": "cifar_resnet8", "mean": [0.5] * 3, "std": [0.25] * 3, "train": recipe}
        made = {"description": "model.json", "weights": "weights.safetensors", "history": "training.csv"}
        paths = paths_of(self.folder, name)
        self.run(
            train_model,
            name="net",
            model=json.dumps(model),
            classes=classes,
            images=paths["description"],
            manifest=paths["manifest"],
            initial=[],
            sources=[],
            clusters=[],
            **{key: str(self.folder / file) for key, file in made.items()},
        )
        return str(self.folder / "model.json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A set of three classes and a network for them."""
    place = Place(tmp_path_factory.mktemp("trained"))
    place.add("train", "ant", "bee", "cow")
    place.train("train")
    return place


@pytest.fixture
def place(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


def test_a_network_knows_its_classes_and_takes_no_others(place):
    model, output = str(place.folder / "model.json"), str(place.folder / "out.json")
    assert ClassList.of_network(read_json(model)).names == ("ant", "bee", "cow")
    place.add("test", "ant", "bee", "cow")
    same = place.draw("test")
    place.run(evaluate_model, model=model, queries=same, batch=9, output=output)
    place.add("other", "ant", "cow", "dog")
    other = place.draw("other")
    words = (
        "^queries.images: network net, trained on image set train, has no class 'dog', which is label 2 of image set o"
    )
    with pytest.raises(InputError, match=words):
        place.run(evaluate_model, model=model, queries=other, batch=9, output=output)
    options = {"threat": "gray_box", "ball": "raw01", "roles": [], "files": [], "readers": "{}", "facts": "{}"}
    with pytest.raises(InputError, match=words):
        place.run(make_attack_set, attacker=model, target=model, clean=other, defense=None, **options)
    # What does not say what its labels are called is compared with nothing.
    unknown = {name: values for name, values in read_arrays(other).items() if name != "class_list"}
    write_arrays(other, **unknown)
    check_network(read_json(model), other)


def test_query_and_training_sets_of_another_number_of_classes_are_refused_at_once(place):
    place.add("test", "ant", "cow")
    with pytest.raises(InputError, match=r"^queries\.images: image set test has 2 classes \(ant, cow\); allowed: 3 "):
        place.draw("test")
    with pytest.raises(InputError, match=r"^models\.net\.train\.images: image set test has 2 classes \(ant, cow\); "):
        place.train("test")
    place.add("test", classes={"ant": 0, "cow": 2})
    assert sorted(set(read_arrays(place.draw("test"), "labels")["labels"])) == [0, 2]
    check_network(read_json(place.folder / "model.json"), place.folder / "test.npz")


def test_validation_images_are_of_the_classes_of_the_test_images(place):
    place.add("other", "ant", "cow", "dog")
    task = [paths_of(place.folder, "train")["description"]]
    with pytest.raises(InputError, match=r"^validation\.images: .*no class 'dog'|'bee'"):
        place.draw("other", key="validation", task=task)
    place.draw("train", key="validation", task=task)


def test_a_task_of_retrieval_needs_two_classes(place):
    place.add("flat", "images")
    files = {side: paths_of(place.folder, "flat")["description"] for side in ("gallery", "queries")}
    with pytest.raises(
        InputError, match=r"^retrieval\.tasks\.t: image set flat has 1 class \(images\); allowed: at le"
    ):
        place.run(draw_task, task="t", **files)


def test_a_pool_by_tags_has_every_class_of_the_task_by_its_name(place):
    names = [unicodedata.normalize(form, "émeu") for form in FORMS]
    place.add("test", "ant", names[0])
    place.add("web", "ant", names[1], "zebra")
    place.add("few", "ant", "Emeu")

    def build(*sets: str) -> int:
        paths = [paths_of(place.folder, name) for name in sets]
        output = str(place.folder / "pool.parquet")
        files = {"manifests": [one["manifest"] for one in paths], "sets": [one["description"] for one in paths]}
        task = paths_of(place.folder, "test")["description"]
        own = {"pool": "Targeted", "tags": "task", "order": "table", "sizes": [], "names": sets}
        place.run(build_pool, task=task, output=output, **files, **own)
        return len(TableReader(output))

    assert build("web") == 6
    assert build("web", "few") == 9
    words = (
        "^pools.Targeted: no set of it has class 'émeu' of image set test, they have Emeu, ant; allowed: the same, or"
    )
    with pytest.raises(InputError, match=words):
        build("few")
    given = class_list("ant", "", origin="mapping", owner="image set few")
    check_tags(class_list("ant", "émeu"), [given], "pools.Targeted")


def test_a_class_list_is_stored_as_numbers(tmp_path):
    names = class_list("ant", "", "émeu", origin="mapping")
    write_arrays(tmp_path / "clean.npz", class_list=names.stored(), labels=np.arange(3))
    assert ClassList.of_queries(tmp_path / "clean.npz") == names


def test_every_script_that_asks_a_network_about_labelled_queries_compares_their_classes():
    scripts = [path.read_text() for path in Path(evaluate_model.__file__).parent.glob("*.py")]
    asking = [
        text
        for text in scripts
        if "open_checkpoint(" in text
        and any(word in text for word in ('"labels"', "read_drawn(", "read_queries("))
        and any(option in text for option in ('"--clean"', '"--queries"', '"--names"'))
    ]
    assert len(asking) >= 9
    assert [text.splitlines()[0] for text in asking if "check_network(" not in text] == []
