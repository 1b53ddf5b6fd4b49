"""Scripts that put images to purifiers: which option is chosen, and what becomes of a few images, by hand."""

import json

import numpy as np
import pytest
import torch

import purify_images
import tune_defense
from nndefense.core.arrays import read_arrays, write_arrays
from nndefense.core.files import read_json, write_json
from nndefense.core.registry import make
from nndefense.core.seeds import derive_seed
from nndefense.defenses import DEFENSES
from nndefense.dictionaries.clusters import choose_cluster
from nndefense.dictionaries.purify import purify
from nndefense.dictionaries.spectrum import transform_filters
from nndefense.evaluation.context import read_context
from nndefense.evaluation.tuning import clean_loss
from nndefense.flow.needs import NEEDS
from nndefense.models.build import freeze
from nndefense.models.checkpoint import open_checkpoint

from .dictionary_workshop import make_workshop

WEIGHTS = [0.0, 0.3, 3.0, 300.0]
COUNT = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = make_workshop(tmp_path_factory.mktemp("purifying"))
    place.clean = place.draw_set("clean.npz")
    # Between classes, where little changes an answer; labels are the network's own answers, but for two.
    generator = np.random.default_rng(0)
    first, second = (place.clean["clean/images"][generator.integers(20, size=COUNT)] for _ in range(2))
    images = (first + second) / 2 + generator.normal(0, 0.15, first.shape)
    images = images.clip(0, 1).astype(np.float32)
    place.network = freeze(open_checkpoint(place.path("model.json"))[0])
    labels = answers(place, images)
    labels[:2] = (labels[:2] + 1) % 4
    place.validation = {"clean/images": images, "labels": labels, "rows": np.arange(500, 500 + COUNT)}
    write_arrays(place.path("validation.npz"), **place.validation)
    return place


def answers(place, images):
    """Classes that the network says, (n,), one image after the other."""
    shown = torch.as_tensor(images)
    with torch.no_grad():
        return np.array([int(place.network(one[None]).argmax()) for one in shown])


def needed(place, *roles, **more):
    """The arguments of a script for what a defence needs."""
    stored = {
        "dictionaries": [place.path(name) for name in ("clusters.npz", "dictionaries.npz", "model.json")]
        + [place.path("weights.safetensors")],
        "tuned": [place.path("tuned.json")],
    }
    return {
        "facts": "{}",
        "files": [path for role in roles for path in stored[role]],
        "readers": json.dumps({role: NEEDS[role].read for role in roles}),
        "roles": [role for role in roles for _ in stored[role]],
        "model": place.path("model.json"),
        **more,
    }


def tune(place, kind, tune, *roles, options=None, loss=0.05, defense="mine"):
    """What tune_defense writes."""
    arguments = {"kind": kind, "tune": json.dumps(tune), "options": json.dumps(options or {}), "loss": loss}
    files = {"queries": place.path("validation.npz"), "output": place.path("chosen.json")}
    asked = needed(place, *roles, **files, defense=defense, batch=17)
    place.log = place.run(tune_defense, **asked, **arguments)
    return read_json(place.path("chosen.json"))


def right(place, kind, options, *roles, seed=0):
    """Whether a defence is right on each validation image, one after the other, (n,)."""
    asked = needed(place, *roles)
    context = read_context(asked["roles"], asked["files"], json.loads(asked["readers"]), {}, place.network)
    bound = make("defense", DEFENSES, kind, options).bind(place.network, context)
    shown, rows = (torch.from_numpy(place.validation[name]) for name in ("clean/images", "rows"))
    found = [
        int(bound.probabilities(shown[one : one + 1], rows=rows[one : one + 1], seed=seed).argmax())
        for one in range(COUNT)
    ]
    return np.array(found) == place.validation["labels"]


# -- choosing an option


def test_the_choice_is_by_what_each_value_costs_at_most(place):
    found = tune(place, "low_pass", {"weight": WEIGHTS}, loss=0.2)
    undefended = answers(place, place.validation["clean/images"]) == place.validation["labels"]
    expected = [right(place, "low_pass", {"weight": weight}) for weight in WEIGHTS]
    upper = [clean_loss(one, undefended)[1] for one in expected]
    assert upper[0] == 0.0 < upper[1] < 0.2 < max(upper)
    able = [weight for weight, one in zip(WEIGHTS, upper, strict=True) if one <= 0.2]
    assert found == {
        "option": "weight",
        "values": WEIGHTS,
        "accuracies": [one.mean() for one in expected],
        "undefended": (COUNT - 2) / COUNT,
        "n": COUNT,
        "loss": 0.2,
        "upper": upper,
        "value": able[-1],
        "within": True,
    }
    assert f"undefended 0.967; weight 0.0: 0.967, 0.3: {expected[1].mean():.3f}, " in place.log
    assert f"chosen: {able[-1]}" in place.log


def test_more_may_be_lost_or_nothing(place):
    assert tune(place, "low_pass", {"weight": WEIGHTS}, loss=1.0)["value"] == WEIGHTS[-1]
    found = tune(place, "low_pass", {"weight": WEIGHTS[:0:-1]}, loss=0.0)
    assert (found["value"], found["within"]) == (WEIGHTS[-1], False)
    assert "every value may cost more than 0" in place.log


def test_other_options_are_as_they_are_given(place):
    found = tune(place, "jpeg", {"quality": [90, 5]}, options={"quality": 75, "subsampling": "4:4:4"})
    assert found["accuracies"] == [
        right(place, "jpeg", {"quality": quality, "subsampling": "4:4:4"}).mean() for quality in (90, 5)
    ]
    assert found["values"] == [90, 5]


def test_dictionaries_are_tuned_with_the_files_that_they_need(place):
    values = [0.001, 0.5]
    found = tune(place, "srd", {"sparsity": values}, "dictionaries", options={"distance": "mahalanobis"})
    assert found["accuracies"] == [
        right(place, "srd", {"distance": "mahalanobis", "sparsity": one}, "dictionaries").mean() for one in values
    ]


def test_what_a_defence_draws_depends_on_its_name_and_is_the_same_for_every_value(place):
    fractions = [0.9, 0.4, 0.4]
    for name in ("mine", "other"):
        found = tune(place, "crop_ensemble", {"crop_fraction": fractions}, options={"crops": 1}, defense=name)
        seed = derive_seed(1, "tune", name)
        assert found["accuracies"] == [
            right(place, "crop_ensemble", {"crops": 1, "crop_fraction": one}, seed=seed).mean() for one in fractions
        ]
        assert found["accuracies"][1] != right(place, "crop_ensemble", {"crops": 1, "crop_fraction": 0.4}).mean()


# -- a few images


def show(place, *roles, count=6, options=None, member="0.06"):
    """What purify_images writes."""
    attacked = place.clean["clean/images"][:, :, ::-1].copy()
    write_arrays(place.path("attacked.npz"), **{"0.02/images": attacked * 0.5, "0.06/images": attacked})
    arguments = {"attacked": place.path("attacked.npz"), "clean": place.path("clean.npz"), "member": member}
    asked = needed(place, *roles, output=place.path("purified.npz"), kind="srd", defense="mine", count=count)
    place.log = place.run(purify_images, **asked, **arguments, options=json.dumps(options or {"sparsity": 0.05}))
    return read_arrays(place.path("purified.npz")), attacked


def test_parts_of_purified_images_add_up_and_are_those_of_their_dictionaries(place):
    found, attacked = show(place, "dictionaries")
    stored, clusters = read_arrays(place.path("dictionaries.npz")), read_arrays(place.path("clusters.npz"))
    spectra = [transform_filters(torch.from_numpy(one), 12, 12) for one in stored["filters"]]
    at = [place.clean["rows"].tolist().index(row) for row in found["rows"]]
    np.testing.assert_array_equal(found["labels"], place.clean["labels"][at])
    assert len(set(found["rows"])) == 6
    for part, source in (("clean", place.clean["clean/images"]), ("attacked", attacked)):
        own = {name.removeprefix(f"{part}/"): one for name, one in found.items() if name.startswith(f"{part}/")}
        images = torch.from_numpy(source[at])
        np.testing.assert_array_equal(own["images"], source[at])
        np.testing.assert_allclose(own["low"] + own["high"], source[at], atol=1e-6)
        assert own["high"].min() < -0.05 < 0.05 < own["high"].max()
        chosen = choose_cluster(place.latents(images), clusters["means"])
        np.testing.assert_array_equal(own["cluster"], chosen)
        options = {"sparsity": 0.05, "low_pass": 2.0, "method": "admm", "iterations": 250, "tolerance": 1e-2}
        expected = purify(images, spectra, torch.from_numpy(chosen), **options)
        np.testing.assert_allclose(own["purified"], expected.images, atol=1e-5)
        np.testing.assert_array_equal(own["undefended"], answers(place, source[at]))
        np.testing.assert_array_equal(own["defended"], answers(place, expected.images))
    assert "6 images; attacked, " in place.log


def test_images_are_purified_with_the_option_that_was_chosen(place):
    write_json(place.path("tuned.json"), {"option": "sparsity", "value": 0.3})
    tuned, _ = show(place, "dictionaries", "tuned")
    given, _ = show(place, "dictionaries", options={"sparsity": 0.3})
    other, _ = show(place, "dictionaries")
    np.testing.assert_array_equal(tuned["clean/purified"], given["clean/purified"])
    assert np.abs(tuned["clean/purified"] - other["clean/purified"]).max() > 0.01


def test_the_budget_is_the_one_that_is_named(place):
    found, attacked = show(place, "dictionaries", member="0.02", count=2)
    at = [place.clean["rows"].tolist().index(row) for row in found["rows"]]
    np.testing.assert_array_equal(found["attacked/images"], attacked[at] * 0.5)


def test_shown_are_the_first_right_image_of_each_class_and_then_others():
    labels = np.array([2, 0, 2, 1, 0, 1, 3])
    right = np.array([False, True, True, True, True, False, False])

    def places(count):
        return purify_images.chosen_places(labels, right, count).tolist()

    assert places(3) == [1, 2, 3]
    assert places(2) == [1, 3]
    assert places(5) == [0, 1, 2, 3, 4]
    assert places(99) == list(range(7))
    assert purify_images.chosen_places(labels, np.zeros(7, bool), 2).tolist() == [0, 1]
