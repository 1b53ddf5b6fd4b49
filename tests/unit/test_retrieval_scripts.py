"""Scripts of certified retrieval, one after the other on small files: what each writes, and what it refuses."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import attack_retrieval
import certify_queries
import check_certificates
import describe_retrieval
import draw_queries
import measure_retrieval
import smooth_gallery
from nndefense.certificates import CERTIFICATES
from nndefense.certificates.base import Gallery, nearest_label
from nndefense.core.arrays import read_array, read_arrays, write_arrays
from nndefense.core.errors import InputError
from nndefense.core.files import file_sha256, read_json
from nndefense.evaluation.certified import COLUMNS
from nndefense.evaluation.guarded import RULES, Draws, smoothed_answers
from nndefense.evaluation.rows import AXES, read_rows
from nndefense.images.description import open_options
from nndefense.models.embedding import as_stored, class_prototypes, fit_transform

from .retrieval_cases import COLOURS, NAME, SIGMA, SIZE, Place

FIRST, DRAWS = 20, 60


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("retrieval"))
    place.learn()
    place.draw("task.npz")
    place.fit("lda.npz")
    place.run(smooth_gallery, **place.asked(draws=60, gallery="items", vectors=place.path("gallery.npz")))
    files = {"file": place.path("draws.npy"), "base": place.path("base.npz")}
    place.run(draw_queries, **place.asked(first=FIRST, draws=DRAWS, **files))
    for name in CERTIFICATES:
        place.certified = place.run(
            certify_queries,
            certificate=name,
            gallery=place.path("gallery.npz"),
            base=place.path("base.npz"),
            draws=place.path("draws.npy"),
            alpha=0.01,
            output=place.path(f"{name}.npz"),
        )
    return place


def pixels(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


# -- embeddings


def test_the_transform_is_fitted_on_noisy_images_of_the_set(place):
    found = read_arrays(place.path("lda.npz"))
    assert found["directions"].shape == (64, 3)
    again = place.fit("again.npz")
    np.testing.assert_array_equal(again["directions"], found["directions"])
    assert "lda: 64 features to 3 dimensions, by 40 images" in place.log
    assert not np.array_equal(place.fit("again.npz", seed=2)["mean"], found["mean"])
    # More images than there are: all of them; without noise what can be computed at once.
    place.fit("again.npz", count=1000, sigma=0.0, transform="center")
    own = open_options(read_json(place.path("train.json"))["options"])
    with torch.no_grad():
        features = place.embedding(transform=()).features(pixels(own.read(range(48)).images)).numpy()
    expected = fit_transform("center", features, own.manifest()["label"])
    centred = read_arrays(place.path("again.npz"))
    np.testing.assert_allclose(centred["mean"], expected.mean, rtol=1e-4, atol=1e-5)
    assert centred["directions"].size == 0
    noisy = place.fit("again.npz", count=1000, transform="center")
    assert not np.allclose(noisy["mean"], centred["mean"], rtol=1e-3)


def test_the_gallery_holds_embeddings_and_means_of_noisy_ones(place):
    found, task = read_arrays(place.path("gallery.npz")), read_arrays(place.path("task.npz"))
    with torch.no_grad():
        expected = as_stored(place.embedding()(pixels(task["gallery/images"])))
    np.testing.assert_allclose(found["base"], expected, atol=2e-3)
    np.testing.assert_array_equal(found["labels"], task["gallery/labels"])
    assert found["nonnegative"].tolist() == [False]
    lengths = np.linalg.norm(found["smoothed"], axis=1)
    assert lengths.max() < 1
    # Means of noisy embeddings are near the embedding, and no embedding themselves.
    assert np.linalg.norm(found["smoothed"] - found["base"], axis=1).min() > 1e-4
    assert np.linalg.norm(found["smoothed"] - found["base"], axis=1).max() < 0.3
    place.run(smooth_gallery, **place.asked(draws=60, gallery="items", vectors=place.path("again.npz")))
    assert Path(place.path("again.npz")).read_bytes() == Path(place.path("gallery.npz")).read_bytes()


def test_prototypes_are_means_of_the_vectors_of_classes(place):
    place.run(smooth_gallery, **place.asked(draws=60, gallery="prototypes", vectors=place.path("prototypes.npz")))
    found, items = read_arrays(place.path("prototypes.npz")), read_arrays(place.path("gallery.npz"))
    assert found["labels"].tolist() == [0, 1, 2, 3]
    for name in ("base", "smoothed"):
        np.testing.assert_allclose(found[name], class_prototypes(items[name], items["labels"])[0])
    own = {"output": "softmax", "transform": [], "draws": 20, "gallery": "items"}
    place.run(smooth_gallery, **place.asked(**own, vectors=place.path("roots.npz")))
    roots = read_arrays(place.path("roots.npz"))
    assert roots["nonnegative"].tolist() == [True]
    assert roots["base"].min() >= 0
    assert roots["base"].shape == (32, 4)


def test_draws_of_queries_are_fresh_noise_of_each(place):
    draws, about = read_array(place.path("draws.npy"))
    assert about == {"draws": DRAWS, "first": FIRST, "queries": 16, "sigma": SIGMA}
    assert (draws.shape, draws.dtype) == ((16 * (FIRST + DRAWS), 3), np.float16)
    assert len(np.unique(draws, axis=0)) > 0.99 * len(draws)
    base, task = read_arrays(place.path("base.npz")), read_arrays(place.path("task.npz"))
    with torch.no_grad():
        expected = as_stored(place.embedding()(pixels(task["queries/images"])))
    np.testing.assert_allclose(base["embeddings"].astype(float), expected.astype(float), atol=2e-3)
    np.testing.assert_array_equal(base["labels"], task["queries/labels"])
    np.testing.assert_array_equal(base["rows"], task["queries/rows"])
    files = {"file": place.path("again.npy"), "base": place.path("again.npz")}
    place.run(draw_queries, **place.asked(first=FIRST, draws=DRAWS, **files))
    assert Path(files["file"]).read_bytes() == Path(place.path("draws.npy")).read_bytes()
    for change in ({"seed": 2}, {"name": "colours/lda/sigma-0.2"}):
        place.run(draw_queries, **place.asked(first=FIRST, draws=DRAWS, **files) | change)
        assert (read_array(files["file"])[0] == draws).all(axis=1).mean() < 0.01


# -- certificates and rows


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates_are_those_of_the_stored_draws(place, name):
    found, base = read_arrays(place.path(f"{name}.npz")), read_arrays(place.path("base.npz"))
    stored = read_arrays(place.path("gallery.npz"))
    gallery = Gallery(stored["smoothed"], stored["labels"])
    draws, _ = read_array(place.path("draws.npy"))
    for query, own in enumerate(np.split(draws, 16)):
        one = CERTIFICATES[name].load()(own[:FIRST], own[FIRST:], gallery, sigma=SIGMA, alpha=0.01)
        assert (found["classes"][query], found["radius"][query]) == (one.label, one.radius)
    np.testing.assert_array_equal(found["labels"], base["labels"])
    np.testing.assert_array_equal(found["rows"], base["rows"])
    assert found["sigma"].tolist() == [SIGMA]
    if name == "vote":
        assert ((found["classes"] == found["labels"]) & (found["radius"] > 0)).mean() > 0.5
        assert "alpha 0.01 for each query" in place.certified
        assert "the chance that any of the radii is too large is at most 0.16" in place.certified


@pytest.fixture(scope="module")
def attack_log(place):
    """What attack_retrieval says, beside the file that it writes."""
    own = {"count": 10, "radii": [2.5, 0.1, 0.6], "steps": 5, "draws": 4, "fresh": 200}
    files = {"gallery": place.path("gallery.npz"), "file": place.path("attacked.npz")}
    return place.run(attack_retrieval, **place.asked(**own, **files))


def test_attacks_at_rising_radii_leave_less_and_less(place, attack_log):
    found = read_arrays(place.path("attacked.npz"))
    labels = read_arrays(place.path("task.npz"))["queries/labels"][:10]
    np.testing.assert_array_equal(found["labels"], labels)
    assert found["radii"].tolist() == [0.1, 0.6, 2.5]
    stored, base = read_arrays(place.path("gallery.npz")), read_arrays(place.path("base.npz"))
    expected = nearest_label(base["embeddings"][:10].astype(float), Gallery(stored["base"], stored["labels"]))
    np.testing.assert_array_equal(found["base/clean"], expected)
    for rule in RULES:
        right = [found[f"{rule}/clean"] == labels, *(found[f"{rule}/classes"] == labels)]
        assert len(right) == 4
        assert right[0].mean() > 0.6
        for before, after in pairwise(right):
            assert not (after & ~before).any()
        assert right[3].sum() < right[0].sum()
    assert attack_log.count("queries right") == 9
    # A bound from below, and one from above.
    for name in CERTIFICATES:
        one = {key: values[:10] for key, values in read_arrays(place.path(f"{name}.npz")).items()}
        proven = (one["classes"] == labels) & (one["radius"] >= 0.1)
        assert (found["vote/classes" if name == "vote" else "mean/classes"][0] == labels)[proven].all()
    assert proven.sum() > 3


def test_certified_answers_hold_against_attacks_within_their_radii(place):
    names = list(CERTIFICATES)
    options = {"steps": 5, "draws": 4, "fresh": 2000, "names": names, "gallery": place.path("gallery.npz")}
    files = {"certificates": [place.path(f"{name}.npz") for name in names], "file": place.path("checked.npz")}
    log = place.run(check_certificates, **place.asked(**options, **files))
    found = read_arrays(place.path("checked.npz"))
    for rule, own in (("vote", ["vote"]), ("mean", ["linear", "gaussian", "cdf"])):
        best = np.max([read_arrays(place.path(f"{name}.npz"))["radius"] for name in own], axis=0)
        np.testing.assert_array_equal(found["radius"][found["rule"] == rule], best[best > 0])
    assert (found["rule"] == "vote").sum() > 5
    np.testing.assert_array_equal(found["answered"], found["certified"])
    assert (found["distance"] <= 0.95 * found["radius"] * (1 + 1e-5)).all()
    assert found["distance"].mean() > 0.8 * found["radius"].mean()
    assert "vote: 0 of" in log
    assert (found["draws"] <= 2000).all()


def certificate_file(folder, name, classes, radius):
    write_arrays(folder / f"{name}.npz", classes=np.array(classes), radius=np.array(radius))
    return str(folder / f"{name}.npz")


def test_the_largest_radius_of_each_decision_is_attacked(tmp_path):
    first = certificate_file(tmp_path, "linear", [1, -1, 2, -1], [0.1, 0.0, 0.4, 0.0])
    second = certificate_file(tmp_path, "cdf", [1, 3, 2, -1], [0.3, 0.2, 0.1, 0.0])
    vote = certificate_file(tmp_path, "vote", [0, 0, 0, 0], [0.9, 0.0, 0.0, 0.5])
    found = check_certificates.strongest([first, second, vote], ["linear", "cdf", "vote"])
    assert {rule: (classes.tolist(), radius.tolist()) for rule, (classes, radius) in found.items()} == {
        "mean": ([1, 3, 2, -1], [0.3, 0.2, 0.4, 0.0]),
        "vote": ([0, 0, 0, 0], [0.9, 0.0, 0.0, 0.5]),
    }
    for radius in (0.05, 0.5):
        other = certificate_file(tmp_path, "gaussian", [2, -1, 2, -1], [radius, 0.0, 0.0, 0.0])
        with pytest.raises(InputError, match=r"gaussian\.npz: certifies another answer than the other certificates"):
            check_certificates.strongest([first, other], ["linear", "gaussian"])


def test_nothing_is_attacked_where_nothing_is_certified(place, tmp_path):
    path = certificate_file(tmp_path, "cdf", [-1] * 16, [0.0] * 16)
    options = {"steps": 1, "draws": 1, "fresh": 10, "names": ["cdf"], "gallery": place.path("gallery.npz")}
    file = tmp_path / "checked.npz"
    place.run(check_certificates, **place.asked(**options, certificates=[path], file=str(file)))
    assert all(len(values) == 0 for values in read_arrays(file).values())
    assert set(read_arrays(file)) == {"answered", "certified", "distance", "draws", "radius", "rows", "rule"}


@pytest.mark.usefixtures("attack_log")
def test_rows_of_a_retrieval(place):
    names = list(CERTIFICATES)
    # Other vectors of the base model, so that galleries cannot be mistaken for each other.
    stored = read_arrays(place.path("gallery.npz"))
    stored["base"] = np.roll(stored["base"], 8, axis=0)
    write_arrays(place.path("rolled.npz"), **stored)
    place.run(
        measure_retrieval,
        task="colours",
        embedding="lda",
        model_name="small",
        dataset="painted",
        gallery=place.path("rolled.npz"),
        base=place.path("base.npz"),
        draws=place.path("draws.npy"),
        certificates=[place.path(f"{name}.npz") for name in names],
        names=names,
        attacked=[place.path("attacked.npz")],
        radii=[0.0, 0.05],
        answers=place.path("answers.npz"),
        output=place.path("rows.csv"),
    )
    rows = read_rows(place.path("rows.csv"), None)
    assert tuple(rows[0]) == (*AXES, *COLUMNS)
    assert len(rows) == 3 + 2 * len(names) + 3 * 4
    assert {
        (row["dataset"], row["model"], row["pool"], row["size"], row["features"], row["sigma"]) for row in rows
    } == {("painted", "small", "colours", 32, "lda", SIGMA)}
    answers, base = read_arrays(place.path("answers.npz")), read_arrays(place.path("base.npz"))
    of_base = nearest_label(base["embeddings"].astype(float), Gallery(stored["base"], stored["labels"]))
    np.testing.assert_array_equal(answers["base"], of_base)
    expected = smoothed_answers(Draws(place.path("draws.npy")), Gallery(stored["smoothed"], stored["labels"]))
    np.testing.assert_array_equal(answers["mean"], expected["mean"])
    np.testing.assert_array_equal(answers["vote"], expected["vote"])
    for row, rule in zip(rows[:3], RULES, strict=True):
        assert (row["defense"], row["setting"], row["n"]) == (RULES[rule], "clean", 16)
        assert row["accuracy"] == pytest.approx((answers[rule] == base["labels"]).mean(), abs=1e-6)
    certified = [row for row in rows if row["setting"] == "certified"]
    assert [(row["attack"], row["epsilon"]) for row in certified] == [
        (name, at) for name in names for at in (0.0, 0.05)
    ]
    assert {row["defense"] for row in certified if row["attack"] == "vote"} == {"smoothed_vote"}
    assert {row["defense"] for row in certified if row["attack"] != "vote"} == {"smoothed"}
    attacked = [row for row in rows if row["setting"] == "white_box"]
    assert [row["epsilon"] for row in attacked] == [0.0, 0.1, 0.6, 2.5] * 3
    assert {row["n"] for row in attacked} == {10}


def test_a_retrieval_is_described_by_where_its_files_are(place):
    folder = place.folder / "there/deep"
    place.run(
        describe_retrieval,
        name=NAME,
        model=place.path("model.json"),
        embedding_output="features",
        transform=[place.path("lda.npz")],
        gallery=place.path("gallery.npz"),
        task=place.path("task.npz"),
        images=place.path("test.json"),
        names=place.path("train.json"),
        certificates=["cdf", "vote"],
        alpha=0.001,
        sigma=SIGMA,
        first=FIRST,
        draws=DRAWS,
        output=str(folder / "system.json"),
    )
    found = json.loads((folder / "system.json").read_text())
    for name, file in (("model", "model.json"), ("gallery", "gallery.npz"), ("transform", "lda.npz")):
        (path,) = found["files"][name]
        assert not Path(path).is_absolute()
        assert (folder / path).resolve() == (place.folder / file).resolve()
    assert found["gallery_sha256"] == file_sha256(place.path("gallery.npz"))
    assert found["class_names"] == list(COLOURS)
    assert (found["size"], found["crop"], found["resize"]) == (SIZE, "center", None)
    assert (found["first"], found["draws"], found["sigma"], found["alpha"]) == (FIRST, DRAWS, SIGMA, 0.001)
    assert (found["output"], found["certificates"], found["name"]) == ("features", ["cdf", "vote"], NAME)


def test_images_of_a_part_of_a_set_are_read_as_those_of_the_set(place):
    whole = {"kind": "folder", "root": place.path("pictures/test"), "size": SIZE, "resize": 14}
    place.describe("part", kind="classes_of", of=whole, classes=["red"])
    place.run(
        describe_retrieval,
        name=NAME,
        model=place.path("model.json"),
        embedding_output="features",
        transform=[],
        gallery=place.path("gallery.npz"),
        task=place.path("task.npz"),
        images=place.path("part.json"),
        names=place.path("part.json"),
        certificates=["vote"],
        alpha=0.001,
        sigma=SIGMA,
        first=1,
        draws=2,
        output=place.path("part_system.json"),
    )
    found = read_json(place.path("part_system.json"))
    assert (found["resize"], found["crop"], found["files"]["transform"]) == (14, "center", [])
    assert found["class_names"] == list(COLOURS)
