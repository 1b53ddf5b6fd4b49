"""The script that draws a retrieval task: whose images, which, never one on both sides; drawn kinds of no task."""

from pathlib import Path

import numpy as np
import pytest

from nndefense.core.arrays import read_arrays
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.images.description import open_options
from nndefense.images.shapes_kinds import TASK_KINDS
from nndefense.images.shapes_scene import ALL_KINDS

from .retrieval_cases import Place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("task"))
    place.draw("task.npz")
    return place


def test_a_task_holds_images_of_the_sets_with_their_labels(place):
    task = read_arrays(place.path("task.npz"))
    for side, name, count in (("gallery", "train", 32), ("queries", "test", 16)):
        rows = task[f"{side}/rows"]
        own = open_options(read_json(place.path(f"{name}.json"))["options"])
        assert len(rows) == len(np.unique(rows)) == count
        np.testing.assert_array_equal(task[f"{side}/images"], own.read(rows).images)
        np.testing.assert_array_equal(task[f"{side}/labels"], own.manifest()["label"][rows])


def test_draws_are_functions_of_the_seed_and_of_the_task(place):
    before = Path(place.path("task.npz")).read_bytes()
    assert {name: one.tobytes() for name, one in place.draw("again.npz").items()} == {
        name: one.tobytes() for name, one in read_arrays(place.path("task.npz")).items()
    }
    assert Path(place.path("again.npz")).read_bytes() == before
    for change in ({"seed": 2}, {"task": "other"}):
        found = place.draw("again.npz", **change)
        assert not np.array_equal(found["gallery/rows"], read_arrays(place.path("task.npz"))["gallery/rows"])
    assert "16 queries among 32 images of 4 classes; 0 queries of classes that the gallery lacks" in place.log


def test_no_image_of_one_set_is_on_both_sides(place):
    task = place.draw("same.npz", "train", "train", gallery_count=20, queries_count=10)
    assert not set(task["gallery/rows"]) & set(task["queries/rows"])
    assert (len(task["gallery/rows"]), len(task["queries/rows"])) == (20, 10)
    rest = place.draw("same.npz", "train", "train", gallery_count=20, queries_count=None)
    assert sorted([*rest["gallery/rows"], *rest["queries/rows"]]) == list(range(48))
    everything = place.draw("same.npz", gallery_count=None, queries_count=None)
    assert (len(everything["gallery/rows"]), len(everything["queries/rows"])) == (48, 20)


def test_a_task_of_drawn_kinds_that_no_network_is_trained_on(place):
    shapes = {"kind": "shapes", "first": 50, "rows": 400, "size": 16}
    manifest = place.describe("others", content="others", **shapes)
    names = read_json(place.path("others.json"))["class_names"]
    assert names == [kind.name for kind in ALL_KINDS[len(TASK_KINDS) :]]
    assert not set(names) & {kind.name for kind in TASK_KINDS}
    assert set(manifest["label"]) == set(range(19))
    assert (manifest["tag"] == np.array(names)[manifest["label"]]).all()
    assert np.bincount(manifest["label"]).max() < 50
    task = place.draw("shapes.npz", "others", "others", gallery_count=60, queries_count=30)
    own = open_options(read_json(place.path("others.json"))["options"])
    np.testing.assert_array_equal(task["queries/images"], own.read(task["queries/rows"]).images)
    # The same kinds as in the stream, where they have no label.
    web = open_options({**shapes, "content": "web", "task_share": 0.0})
    np.testing.assert_array_equal(web.read(range(20)).images, own.read(range(20)).images)
    place.describe("web", content="web", **shapes)
    drawn = place.draw("shapes.npz", "web", "web", gallery_count=100, queries_count=50)
    assert drawn["gallery/labels"].min() >= 0
    assert drawn["queries/labels"].min() >= 0
    words = r"retrieval\.tasks\.colours: image set others has no class 'blue', which is label 0 of image set train; all"
    with pytest.raises(InputError, match=words):
        place.draw("shapes.npz", "train", "others")


def test_tasks_that_cannot_be_drawn_are_refused_in_a_line(place):
    with pytest.raises(
        InputError, match=r"retrieval\.tasks\.colours\.queries_count: 30 images of 20 that have a label"
    ):
        place.draw("bad.npz", queries_count=30)
    with pytest.raises(
        InputError, match=r"colours\.queries_count: 30 images of 28 that have a label and are not taken"
    ):
        place.draw("bad.npz", "train", "train", gallery_count=20, queries_count=30)
    place.describe("large", kind="folder", root=place.path("pictures/test"), size=16)
    with pytest.raises(InputError, match=r"gallery images are \(12, 12, 3\), queries \(16, 16, 3\); allowed: one size"):
        place.draw("bad.npz", queries="large")
    assert not Path(place.path("bad.npz")).exists()
