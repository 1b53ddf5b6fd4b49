"""Clusters on disk: what comes back, what is refused, and the script that trains with them."""

import dataclasses

import numpy as np
import pytest

from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import FileFault, InputError
from nndefense.core.tables import read_table
from nndefense.dictionaries.clusters import central_members, find_clusters
from nndefense.dictionaries.stored_clusters import members_of, read_clusters, write_clusters

from .test_train_model import Workplace, stop

WIDTH = 64


def draw_clusters(rows, labels, seed=0, width=WIDTH):
    random = np.random.default_rng(seed)
    found = random.random((len(rows), width)) + 3 * np.asarray(labels)[:, None]
    return find_clusters(found.astype(np.float32), np.asarray(labels), most=2, smallest=2)


@pytest.fixture
def stored(tmp_path):
    rows, labels = np.random.default_rng(1).permutation(40)[:24] + 7, np.arange(24) % 3
    write_clusters(tmp_path / "clusters.npz", draw_clusters(rows, labels), labels, rows)
    return tmp_path / "clusters.npz"


def test_clusters_come_back_as_they_were(stored):
    rows, labels = np.random.default_rng(1).permutation(40)[:24] + 7, np.arange(24) % 3
    clusters, found = draw_clusters(rows, labels), read_clusters(stored)
    for field in dataclasses.fields(clusters):
        one, other = getattr(clusters, field.name), getattr(found, field.name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.labels, labels)
    assert len(central_members(np.zeros((24, WIDTH)), found, 2)) == len(clusters.means)
    again = stored.with_name("again.npz")
    write_clusters(again, found, found.labels, found.rows)
    assert again.read_bytes() == stored.read_bytes()


def test_members_of_images_in_any_order(stored):
    found = read_clusters(stored)
    order = np.random.default_rng(0).permutation(24)[:20]
    members = members_of(found, found.rows[order])
    np.testing.assert_array_equal(members, found.members[order])
    assert members.dtype == np.int64
    assert members_of(found, np.zeros(0, np.int64)).shape == (0,)
    known = set(found.rows.tolist())
    for strange in (-1, next(row for row in range(7, 47) if row not in known), 99):
        with pytest.raises(InputError, match=f"image {strange} is none of the 24 images"):
            members_of(found, np.array([found.rows[0], strange, 1000]))


def other(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda arrays: {name: one for name, one in arrays.items() if name != "labels"}, "lacks labels"),
        (other("means", lambda one: one[:, :5]), r"deviations have shape \(\d, 64\), expected \(\d, 5\)"),
        (other("means", lambda one: one[0]), r"means are float32 \(64,\), expected floating-point numbers along 2"),
        (other("deviations", lambda one: one[:-1]), "deviations have shape"),
        (other("members", lambda one: one.astype(float)), "members are float64"),
        (other("members", lambda one: one[:-1]), r"labels have shape \(24,\), expected \(23,\)"),
        (other("members", lambda one: one + 1), r"members are 1 to \d; allowed: 0 to"),
        (other("members", lambda one: one - 1), "members are -1 to"),
        (other("members", np.roll), "sizes"),
        (other("sizes", lambda one: one + 1), "sizes do not count the members"),
        (other("sizes", lambda one: np.append(one, 1)), "sizes have shape"),
        (other("labels", lambda one: one[::-1]), "cluster of another class than its label"),
        (other("classes", lambda one: one[::-1]), "classes must ascend"),
        (other("classes", lambda one: one - 1), "classes must ascend from 0"),
        (other("rows", lambda one: one // 2), "rows must be ids >= 0, each once"),
        (other("rows", lambda one: one - 40), "rows must be ids >= 0"),
        (other("rows", lambda one: one[:0]), r"rows are int64 \(0,\), .*at least one"),
        (other("scores", lambda one: one[1:]), "scores have shape"),
        (other("means", lambda one: one * np.float32("nan")), "means and deviations must be finite"),
        (other("deviations", lambda one: -one), "deviations >= 0"),
    ],
)
def test_clusters_that_do_not_fit_are_refused(stored, spoil, message):
    arrays = read_arrays(stored)
    if message == "sizes":
        # A member moved to another cluster of the same class would be as good.
        arrays["members"][0] = (arrays["members"][0] + 1) % len(arrays["sizes"])
        spoil = dict
    write_arrays(stored, **spoil(arrays))
    with pytest.raises(FileFault, match=message) as caught:
        read_clusters(stored)
    assert str(caught.value).startswith(str(stored))
    assert "\n" not in str(caught.value)


def test_damaged_file_and_unfit_clusters_to_write_are_refused(stored):
    found = read_clusters(stored)
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    with pytest.raises(FileFault, match="damaged"):
        read_clusters(stored)
    with pytest.raises(InputError, match="clusters: labels have shape"):
        write_clusters(stored, found, found.labels[:-1], found.rows)


# -- the script that trains with them


RECIPE = {"method": "clustered", "epochs": 2, "epsilon": 0.03, "attack_steps": 2, "weight": 0.3}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Workplace(tmp_path_factory.mktemp("training"))
    labels = read_table(place.folder / "manifest.parquet", "label")["label"]
    for name, rows, shift in (("own", np.arange(48), 0), ("few", np.arange(48) + 1, 0), ("others", np.arange(48), 1)):
        shifted = (labels + shift) % 10
        write_clusters(place.folder / f"{name}.npz", draw_clusters(rows, shifted, seed=shift), shifted, rows)
    moved = draw_clusters(np.arange(48), labels, seed=5)
    write_clusters(place.folder / "moved.npz", moved, labels, np.arange(48))
    return place


@pytest.fixture(scope="module")
def whole(place):
    place.train("whole", clusters=("own.npz",), **RECIPE)
    return place.content("whole")


def test_script_trains_with_clusters_stops_and_goes_on_alike(place, whole, monkeypatch):
    stop(place, monkeypatch, "stopped", 1, clusters=("own.npz",), **RECIPE)
    assert "goes on after epoch 1" in place.train("stopped", clusters=("own.npz",), **RECIPE)
    assert place.content("stopped") == whole


def test_script_starts_again_where_the_clusters_are_others(place, whole, monkeypatch):
    stop(place, monkeypatch, "moved", 1, clusters=("own.npz",), **RECIPE)
    assert "training.state is of other settings" in place.train("moved", clusters=("moved.npz",), **RECIPE)
    place.train("plain", clusters=("moved.npz",), **RECIPE | {"weight": 0.0})
    contents = [whole, place.content("moved"), place.content("plain")]
    assert len({one["weights.safetensors"] for one in contents}) == 3


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ((), r"models.model.train.method: clustered needs one file of clusters \(--clusters\), got 0"),
        (("own.npz", "own.npz"), "got 2"),
        (("few.npz",), "image 0 is none of the 48 images that the clusters were made from"),
        (("others.npz",), "image 0 has label 7, and 8 in .*others.npz: the clusters are of other images"),
    ],
)
def test_script_refuses_clusters_of_other_images_and_no_clusters(place, clusters, message):
    with pytest.raises(InputError, match=message) as caught:
        place.train("refused", clusters=clusters, **RECIPE)
    assert "\n" not in str(caught.value)
    assert place.content("refused") == {}
