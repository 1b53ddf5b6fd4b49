"""Scripts that make dictionaries, one after the other on small files: what each writes, and what it refuses."""

import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import find_oracle
import learn_dictionaries
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.errors import InputError
from nndefense.core.seeds import derive_seed
from nndefense.dictionaries.clusters import find_clusters as divide
from nndefense.dictionaries.learning import begin, learn
from nndefense.dictionaries.stored_clusters import read_clusters, write_clusters

from .dictionary_workshop import CENTRAL, DIVIDED, LEARNT, make_workshop, pixels
from .retrieval_cases import COLOURS, SIZE


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_workshop(tmp_path_factory.mktemp("dictionaries"))


@contextmanager
def spoiled(path):
    """A picture that cannot be read for a while, of the size and date that it was listed with."""
    kept, date = path.read_bytes(), path.stat().st_mtime_ns
    for content in (bytes(len(kept)), kept):
        path.write_bytes(content)
        os.utime(path, ns=(date, date))
        if content is not kept:
            yield


# -- latents and clusters


def test_latents_are_those_of_the_network_image_by_image(place):
    found = read_arrays(place.path("latents.npz"))
    assert found["rows"].tolist() == list(range(48))
    assert found["labels"].tolist() == [label for label in range(4) for _ in range(12)]
    assert found["latents"].dtype == np.float32
    expected = place.latents(pixels(place.images(range(48))))
    np.testing.assert_allclose(found["latents"], expected, rtol=1e-4, atol=1e-5)
    again = place.extract("again.npz", batch=7)
    np.testing.assert_allclose(again["latents"], found["latents"], rtol=1e-4, atol=1e-5)


def test_images_that_cannot_be_read_have_no_latents(place):
    with spoiled(place.folder / "pictures/train/green/3.png"):
        found = place.extract("again.npz", skip_limit=0.1)
    row = 12 + sorted(map(str, range(12))).index("3")
    assert found["rows"].tolist() == [one for one in range(48) if one != row]
    whole = read_arrays(place.path("latents.npz"))
    np.testing.assert_allclose(found["latents"], np.delete(whole["latents"], row, axis=0), rtol=1e-4, atol=1e-5)


def test_labels_beyond_the_classes_are_refused(place):
    with pytest.raises(InputError, match=r"dictionaries.images: train has labels 0 to 3; allowed: 0 to 2"):
        place.extract("again.npz", classes=3)


def test_clusters_are_those_of_the_latents_and_central_images_those_of_their_rows(place):
    stored, found = read_arrays(place.path("latents.npz")), read_clusters(place.path("clusters.npz"))
    expected = divide(stored["latents"], stored["labels"], seed=derive_seed(1, "clusters"), **DIVIDED)
    for name in ("classes", "means", "deviations", "sizes", "members"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.rows, stored["rows"])
    assert 4 < len(found.classes) <= 8
    central = read_arrays(place.path("central.npz"))
    assert central["images"].shape == (len(found.classes), CENTRAL, SIZE, SIZE, 3)
    for cluster, (images, rows) in enumerate(zip(central["images"], central["rows"], strict=True)):
        count = min(CENTRAL, found.sizes[cluster])
        assert (rows[count:] == -1).all()
        assert not images[count:].any()
        np.testing.assert_array_equal(images[:count], place.images(rows[:count]))
        assert set(found.members[rows[:count]]) == {cluster}
        away = np.linalg.norm(stored["latents"][rows[:count]] - found.means[cluster], axis=1)
        assert (np.diff(away) >= 0).all()
    assert (central["rows"] < 0).any()
    assert place.told.count("clusters of ") == 4


# -- dictionaries


def by_hand(place, rows, name, **options):
    shown, seed = pixels(place.images(rows)), derive_seed(1, "dictionary", name)
    given = {one: LEARNT[one] for one in ("steps", "batch", "sparsity", "low_pass")}
    learning = begin(filters=4, size=3, seed=seed)
    read = options.pop("read", lambda places: shown[torch.from_numpy(places)])
    return learn(learning, read, len(rows), seed=seed, method="admm", **given)


def test_every_cluster_has_the_dictionary_of_its_images_and_the_last_is_of_all(place):
    clusters, found = read_clusters(place.path("clusters.npz")), read_arrays(place.path("dictionaries.npz"))
    count = len(clusters.classes)
    assert found["filters"].shape == (count + 1, 4, 3, 3, 3)
    assert found["objectives"].shape == (count + 1, 3)
    assert found["low_pass"] == 2.0
    for cluster in range(count):
        expected = by_hand(place, clusters.rows[clusters.members == cluster], f"cluster {cluster}")
        np.testing.assert_allclose(found["filters"][cluster], expected.filters, atol=1e-5)
    np.testing.assert_allclose(found["filters"][-1], by_hand(place, range(48), "whole").filters, atol=1e-5)
    norms = np.sqrt(np.square(found["filters"]).sum(axis=(2, 3, 4)))
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
    # There is something to learn in the high band.
    assert (found["objectives"] > 0.01).all()
    assert len(np.unique(found["objectives"], axis=0)) == count + 1


def test_how_clusters_are_shared_among_jobs_changes_nothing(place):
    expected = read_arrays(place.path("dictionaries.npz"))
    place.learn_part("all.npz", part=0, jobs=1)
    found = place.gather("again.npz", "whole.npz", "all.npz")
    np.testing.assert_array_equal(found["filters"], expected["filters"])
    np.testing.assert_array_equal(found["objectives"], expected["objectives"])
    none = place.learn_part("none.npz", part=20, jobs=21)
    assert none["filters"].shape == (0, 4, 3, 3, 3)
    assert none["objectives"].shape == (0, 3)
    assert none["places"].tolist() == []
    found = place.gather("again.npz", "none.npz", "all.npz", "whole.npz")
    np.testing.assert_array_equal(found["filters"], expected["filters"])


def test_squares_are_cut_from_each_image_at_a_place_of_its_own(place):
    images = place.images(range(48))
    found = learn_dictionaries.cut(images, np.arange(48), 7, seed=3)
    assert found.shape == (48, 7, 7, 3)
    places = []
    for one, image in zip(found, images, strict=True):
        windows = [(top, left) for top in range(6) for left in range(6)]
        matching = [at for at in windows if np.array_equal(image[at[0] : at[0] + 7, at[1] : at[1] + 7], one)]
        assert len(matching) == 1
        places += matching
    assert {at[0] for at in places} == {at[1] for at in places} == set(range(6))
    np.testing.assert_array_equal(learn_dictionaries.cut(images[[5, 2]], np.array([5, 2]), 7, seed=3), found[[5, 2]])
    assert not np.array_equal(learn_dictionaries.cut(images, np.arange(48), 7, seed=4), found)
    np.testing.assert_array_equal(learn_dictionaries.cut(images, np.arange(48), SIZE, seed=3), images)
    with pytest.raises(InputError, match=r"learning\.crop: 13 exceeds images of 12 x 12 pixels"):
        learn_dictionaries.cut(images, np.arange(48), 13, seed=3)
    whole = place.learn_part("cut.npz", crop=7)
    seed = derive_seed(1, "dictionary", "whole")
    expected = by_hand(
        place,
        range(48),
        "whole",
        read=lambda places: pixels(learn_dictionaries.cut(images[places], places, 7, seed)),
    )
    np.testing.assert_allclose(whole["filters"][0], expected.filters, atol=1e-5)


def test_an_image_that_became_unreadable_ends_the_learning(place):
    unreadable = pytest.raises(InputError, match=r"train.json: image \d+ became unreadable")
    with spoiled(place.folder / "pictures/train/green/3.png"), unreadable:
        place.learn_part("again.npz", steps=20, batch=48)


def test_parts_that_do_not_fit_the_clusters_are_refused(place):
    count = len(read_clusters(place.path("clusters.npz")).classes)
    needed = f"needed: each of 0 to {count - 1} once, and {count}, that of all images"
    for parts in (
        ["0of2.npz", "1of2.npz"],
        ["0of2.npz", "whole.npz"],
        ["0of2.npz", "1of2.npz", "1of2.npz", "whole.npz"],
    ):
        with pytest.raises(InputError, match=needed):
            place.gather("again.npz", *parts)


# -- clusters of test images


def test_the_oracle_is_the_nearest_cluster_of_the_true_class(place):
    clean = place.draw_set("clean.npz", count=14)
    options = {"clean": place.path("clean.npz"), "model": place.path("model.json"), "batch": 5, "images": []}
    place.run(find_oracle, clusters=place.path("clusters.npz"), output=place.path("oracle.npz"), **options)
    found, clusters = read_arrays(place.path("oracle.npz")), read_clusters(place.path("clusters.npz"))
    np.testing.assert_array_equal(found["rows"], clean["rows"])
    codes = place.latents(torch.from_numpy(clean["clean/images"]))
    away = np.square(codes[:, None] - clusters.means).sum(axis=2)
    away[clusters.classes != clean["labels"][:, None]] = np.inf
    np.testing.assert_array_equal(found["clusters"], away.argmin(axis=1))
    np.testing.assert_array_equal(clusters.classes[found["clusters"]], clean["labels"])
    # Were the images of other classes, their clusters were, too, near or not.
    other = (clean["labels"] + 1) % 4
    write_arrays(place.path("other.npz"), **{**clean, "labels": other})
    options["clean"] = place.path("other.npz")
    place.run(find_oracle, clusters=place.path("clusters.npz"), output=place.path("again.npz"), **options)
    np.testing.assert_array_equal(clusters.classes[read_arrays(place.path("again.npz"))["clusters"]], other)


def test_an_oracle_of_a_class_without_clusters_is_refused(place):
    stored = read_arrays(place.path("latents.npz"))
    some = stored["labels"] != 2
    codes, labels, rows = (stored[name][some] for name in ("latents", "labels", "rows"))
    write_clusters(place.path("few.npz"), divide(codes, labels, **DIVIDED), labels, rows)
    place.draw_set("clean.npz")
    options = {"clean": place.path("clean.npz"), "model": place.path("model.json"), "batch": 5, "images": []}
    with pytest.raises(InputError, match="class 2 has no clusters; allowed: 0, 1, 3"):
        place.run(find_oracle, clusters=place.path("few.npz"), output=place.path("again.npz"), **options)


# -- test and validation images


@pytest.mark.parametrize("count", [None, 7, 100])
def test_test_images_are_drawn_as_they_always_were(place, count):
    found = place.draw_set("again.npz", count=count)
    expected = np.sort(np.random.default_rng(derive_seed(1, "queries")).permutation(20)[: count or 20])
    np.testing.assert_array_equal(found["rows"], expected)
    np.testing.assert_array_equal(found["labels"], expected // 5)
    np.testing.assert_array_equal(found["clean/images"], pixels(place.images(expected, "test")).numpy())
    assert f"{len(expected)} queries of test, {4 - len(set(expected // 5))} classes without any" in place.log


def test_validation_images_are_others_than_the_test_images(place):
    for count in (3, 8, 12, 15):
        tested = place.draw_set("clean.npz", count=count)
        options = {"key": "validation", "without": [place.path("clean.npz")]}
        found = place.draw_set("validation.npz", count=8, **options)
        assert not set(found["rows"]) & set(tested["rows"])
        assert len(found["rows"]) == min(8, 20 - count)
        np.testing.assert_array_equal(found["labels"], found["rows"] // 5)
        np.testing.assert_array_equal(found["clean/images"], pixels(place.images(found["rows"], "test")).numpy())
        if count == 3:
            # Not those that the test set would have drawn next.
            order = np.random.default_rng(derive_seed(1, "queries")).permutation(20)
            assert set(found["rows"]) != set(order[3:11])


def test_without_an_image_left_there_is_no_validation(place):
    place.draw_set("clean.npz")
    with pytest.raises(InputError, match=r"validation.images test: all 20 images are test images; allowed: more"):
        place.draw_set("validation.npz", key="validation", count=5, without=[place.path("clean.npz")])
    with pytest.raises(InputError, match=r"validation.images test: labels are 0 to 3; allowed: 0 to 2"):
        place.draw_set("validation.npz", key="validation", count=5, classes=len(COLOURS) - 1)
