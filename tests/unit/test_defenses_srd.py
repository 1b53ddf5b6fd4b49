"""Purification by dictionaries as a defence: whose dictionary is taken, what is deployed, what is differentiated."""

import numpy as np
import pytest
import torch

from nndefense.core.errors import InputError
from nndefense.core.streams import stream
from nndefense.defenses import semantic_dictionaries
from nndefense.defenses.base import Purifier
from nndefense.defenses.low_pass import LowPass
from nndefense.defenses.semantic_dictionaries import SemanticDictionaries, Spectra
from nndefense.dictionaries.clusters import SHRINKAGE
from nndefense.dictionaries.purify import purify, purify_unrolled
from nndefense.dictionaries.spectrum import transform_filters
from nndefense.models.latents import latents
from tests.unit.attack_cases import Curved, draw_images
from tests.unit.srd_cases import CLUSTERS, COLOURS, chooser, srd_context, tinted

SIZE, COUNT = 13, 6
ROWS = torch.arange(40, 40 + COUNT)
ORACLE = dict(zip(ROWS.tolist(), [2, 2, 0, 1, 1, 0], strict=True))
CHOICES = pytest.mark.parametrize("choice", ["nearest", "oracle", "random", "whole"])


def bind(model=None, context=None, **options):
    context = context or srd_context(oracle=ORACLE)
    return SemanticDictionaries(**{"sparsity": 0.05, **options}).bind(model or Curved(SIZE).eval(), context)


def chosen(bound, images=None, rows=ROWS, seed=3):
    images = tinted() if images is None else images
    return bound.defense.chosen(images, rows, seed, bound.context).tolist()


def purified(images, places, **options):
    """By the dictionaries at places, transformed for these images."""
    spectra = [transform_filters(one, *images.shape[2:]) for one in srd_context()["filters"]]
    given = {"sparsity": 0.05, "method": "admm", "iterations": 250, "tolerance": 1e-2, **options}
    return purify(images, spectra, torch.as_tensor(places), **given)


# -- which dictionary


def test_the_nearest_cluster_is_that_of_the_latents_one_by_one():
    images, context = draw_images(30, 8)[0] * 0.3 + 0.35, srd_context()
    rows = torch.arange(30)
    codes = latents(context["chooser"], images).double().numpy()
    means, deviations = context["means"].astype(float), context["deviations"].astype(float)
    variances = (1 - SHRINKAGE) * deviations**2 + SHRINKAGE * (deviations**2).mean(axis=0)
    found = {}
    for distance, weights in (("mse", np.ones_like(means)), ("mahalanobis", 1 / variances)):
        expected = [
            min(range(CLUSTERS), key=lambda place: (weights[place] * (code - means[place]) ** 2).sum())
            for code in codes
        ]
        found[distance] = chosen(bind(distance=distance), images, rows)
        assert found[distance] == expected
        assert set(expected) == set(range(CLUSTERS))
    assert found["mse"] != found["mahalanobis"]


def test_colours_choose_the_clusters_of_tinted_pictures():
    assert chosen(bind()) == [0, 1, 2, 0, 1, 2]


def test_the_whole_is_the_last_dictionary():
    assert chosen(bind(choice="whole")) == [CLUSTERS] * COUNT


def test_a_random_cluster_depends_on_seed_and_row_alone_and_each_comes_up():
    bound, rows = bind(choice="random"), torch.arange(60)
    images = tinted(1).expand(60, -1, -1, -1)
    found = chosen(bound, images, rows)
    assert found == [int(stream(3, row).integers(CLUSTERS)) for row in range(60)]
    assert set(found) == set(range(CLUSTERS))
    assert min(map(found.count, range(CLUSTERS))) > 10
    assert chosen(bound, images.flip(3) * 0.5, rows) == found
    assert chosen(bound, images[:2], rows[[7, 5]]) == [found[7], found[5]]
    assert chosen(bound, images, rows, seed=4) != found
    assert [bind(choice=one).random for one in ("nearest", "oracle", "random", "whole")] == [False, False, True, False]


def test_an_oracle_knows_the_clusters_of_its_images_and_of_no_others():
    bound = bind(choice="oracle")
    assert chosen(bound, rows=ROWS.flip(0)) == [0, 1, 1, 0, 2, 2]
    strange = ROWS.clone()
    strange[2] = 7
    for ask in (bound.probabilities, bound.surrogate, bound.unrolled().surrogate):
        with pytest.raises(InputError, match="choice oracle: image 7 has no known cluster"):
            ask(tinted(), rows=strange, seed=0)


# -- what is deployed


@CHOICES
def test_answers_are_the_networks_to_what_is_purified_by_hand(choice):
    images, bound = tinted(), bind(choice=choice)
    places = chosen(bound)
    expected = purified(images, places)
    found, used = bound.defense.purified(images, ROWS, 3, bound.context)
    assert used.tolist() == places
    for name in ("images", "low", "high"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-6, rtol=0)
    answers = Curved(SIZE)(expected.images).softmax(dim=1)
    torch.testing.assert_close(bound.probabilities(images, rows=ROWS, seed=3), answers, atol=1e-6, rtol=0)
    # Clusters have dictionaries that differ in what they make of an image.
    other = purified(images, [(place + 1) % (CLUSTERS + 1) for place in places]).images
    assert (other - expected.images).abs().amax(dim=(1, 2, 3)).min() > 0.01


def test_options_of_the_code_are_passed_on():
    images = tinted()
    for options in ({"sparsity": 0.2}, {"iterations": 5}, {"tolerance": 0.3}):
        bound = bind(**options)
        expected = purified(images, [0, 1, 2, 0, 1, 2], **options).images
        torch.testing.assert_close(bound.defense.transform(images, ROWS, 0, bound.context), expected)
        assert (expected - purified(images, [0, 1, 2, 0, 1, 2]).images).abs().max() > 1e-3
    context = srd_context(low_pass=0.5)
    bound = bind(context=context)
    expected = purified(images, [0, 1, 2, 0, 1, 2], low_pass=0.5)
    torch.testing.assert_close(bound.defense.purified(images, ROWS, 0, bound.context)[0].low, expected.low)
    torch.testing.assert_close(bound.defense.transform(images, ROWS, 0, bound.context), expected.images)


@CHOICES
def test_a_batch_of_one_is_as_a_batch_of_many(choice):
    images, bound = tinted(), bind(choice=choice)
    together = bound.defense.transform(images, ROWS, 3, bound.context)
    for place in range(COUNT):
        part = slice(place, place + 1)
        alone = bound.defense.transform(images[part], ROWS[part], 3, bound.context)
        torch.testing.assert_close(alone, together[part], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kept", [1 << 27, 1])
def test_images_of_another_size_are_purified_as_if_they_were_the_first(kept, monkeypatch):
    """Also where next to no transformed filters are kept."""
    monkeypatch.setattr(semantic_dictionaries, "KEPT_VALUES", kept)
    bound, context = bind(Curved(SIZE).eval()), srd_context()
    for height, width in ((13, 13), (20, 18), (18, 20), (9, 16), (11, 12), (10, 10), (13, 13), (20, 18)):
        images = tinted(COUNT, height, width)
        found, places = bound.defense.purified(images, ROWS, 0, bound.context)
        assert places.tolist() == chosen(bind(context=context), images)
        torch.testing.assert_close(found.images, purified(images, places).images, atol=1e-6, rtol=0)


def test_filters_are_transformed_when_they_are_asked_for_and_the_latest_are_kept(monkeypatch):
    made = []

    def watched(filters, height, width):
        made.append(float(filters[0, 0, 0, 0]))
        return transform_filters(filters, height, width)

    monkeypatch.setattr(semantic_dictionaries, "transform_filters", watched)
    filters = srd_context()["filters"]
    monkeypatch.setattr(semantic_dictionaries, "KEPT_VALUES", 2 * (2 * 6 * 3 * 13 * 7))
    spectra = Spectra(filters, 13, 13)
    assert (len(spectra), made) == (CLUSTERS + 1, [])
    for place in (2, 2, 0, 2, 1, 1, 0):
        assert torch.equal(spectra[place].filters, filters[place])
    assert made == [float(filters[place, 0, 0, 0, 0]) for place in (2, 0, 1, 0)]


def test_what_does_not_fit_is_refused():
    context = srd_context()
    for filters in (context["filters"][:-1], context["filters"][0]):
        with pytest.raises(InputError, match="do not fit 3 clusters; needed: one of each cluster, and one of all"):
            bind(context={**context, "filters": filters})
    with pytest.raises(InputError, match="needs context 'oracle'"):
        bind(context=context, choice="oracle")


def test_no_network_may_be_in_training_mode():
    """Its answers would depend on the batch, and its latents with them."""
    bound = bind(Curved(SIZE).train())
    for ask in (bound.probabilities, bound.surrogate, bound.unrolled().surrogate):
        with pytest.raises(InputError, match="training mode"):
            ask(tinted(), rows=ROWS, seed=0)
    with pytest.raises(InputError, match="training mode"):
        bind(context={**srd_context(), "chooser": chooser().train()})


# -- what an attacker differentiates


def slope(bound, images, rows=ROWS, **more):
    images = images.clone().requires_grad_()
    value = bound.surrogate(images, rows=rows, seed=3, **more)
    (gradient,) = torch.autograd.grad((value.log_softmax(dim=1) * torch.tensor([1.0, -0.3, 0.5])).sum(), images)
    return value.detach(), gradient


@pytest.mark.parametrize("choice", ["nearest", "oracle", "whole"])
def test_straight_through_the_value_is_exact_and_the_gradient_the_networks_own(choice):
    images, bound, model = tinted(), bind(choice=choice), Curved(SIZE)
    value, gradient = slope(bound, images)
    torch.testing.assert_close(value.softmax(dim=1), bound.probabilities(images, rows=ROWS, seed=3))
    shown = purified(images, chosen(bound)).images.requires_grad_()
    expected = (model(shown).log_softmax(dim=1) * torch.tensor([1.0, -0.3, 0.5])).sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, shown)[0], atol=1e-5, rtol=1e-4)
    # Another than the image's own, so that the network is asked where the defence asks it.
    own = images.clone().requires_grad_()
    elsewhere = (model(own).log_softmax(dim=1) * torch.tensor([1.0, -0.3, 0.5])).sum()
    assert (torch.autograd.grad(elsewhere, own)[0] - gradient).norm() > 0.02 * gradient.norm()


def between(share):
    """Pictures on the way from the first cluster's colour to the second's."""
    mixed = (1 - share) * COLOURS[0] + share * COLOURS[1]
    found = tinted(1)
    return found - found.mean(dim=(2, 3), keepdim=True) + mixed[:, None, None]


def test_dictionaries_are_chosen_anew_at_every_step():
    near, far, rows = between(0.4), between(0.6), ROWS[:1]
    for bound, make in ((bind(), purify), (bind().unrolled(), purify_unrolled)):
        memo = {}
        for images, place in ((near, 0), (far, 1), (near, 0)):
            expected = purified(images, [place]).images
            if make is purify_unrolled:
                spectra = [transform_filters(one, SIZE, SIZE) for one in srd_context()["filters"]]
                options = {"sparsity": 0.05, "method": "admm", "iterations": bound.defense.unrolled}
                expected = purify_unrolled(images, spectra, torch.tensor([place]), **options)
            found = bound.surrogate(images, rows=rows, seed=0, memo=memo)
            torch.testing.assert_close(found, Curved(SIZE)(expected), atol=1e-5, rtol=0)
            memo.clear()
        wrong = purified(far, [0]).images
        assert (wrong - purified(far, [1]).images).abs().max() > 0.01


def test_unrolled_steps_come_close_to_the_exact_value():
    images, context = tinted(), srd_context(low_pass=0.5)
    exact = bind(context=context, tolerance=0.0, iterations=400).probabilities(images, rows=ROWS, seed=0)
    away = []
    for steps in (1, 5, 25, 100):
        found = bind(context=context, unrolled=steps).unrolled().surrogate(images, rows=ROWS, seed=0).softmax(dim=1)
        away.append(float((found - exact).detach().abs().max()))
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-3
    assert away[0] > 10 * away[-1]
    # What is deployed stays what it is.
    torch.testing.assert_close(
        bind().unrolled().probabilities(images, rows=ROWS, seed=0), bind().probabilities(images, rows=ROWS, seed=0)
    )


@pytest.mark.parametrize(
    "defense", [SemanticDictionaries(sparsity=0.02, unrolled=12), LowPass(weight=0.7)], ids=["srd", "low_pass"]
)
def test_gradients_are_those_of_finite_differences(defense):
    images, model, context = tinted().double(), Curved(SIZE).double().eval(), srd_context()
    context |= {"filters": context["filters"].double(), "chooser": context["chooser"].double()}
    bound, weights = defense.bind(model, context).unrolled(), torch.tensor([1.0, -0.3, 0.5], dtype=torch.float64)

    def value(shown):
        return bound.defense.differentiable(model, shown, ROWS, 3, bound.context) @ weights

    draw = torch.Generator().manual_seed(1)
    direction = torch.randn(images.shape, generator=draw, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(value(images.requires_grad_()).sum(), images)
    step = 1e-7
    with torch.no_grad():
        expected = (value(images + step * direction) - value(images - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(dim=(1, 2, 3)), expected, rtol=1e-4, atol=1e-6)
    # It is not the one that takes the purifier for the identity.
    shown = defense.transform(images.detach(), ROWS, 3, bound.context).requires_grad_()
    straight = torch.autograd.grad((model(shown) @ weights).sum(), shown)[0]
    assert (straight - gradient).norm() > 0.1 * gradient.norm()


def test_the_surrogate_of_a_low_pass_is_exact():
    images, bound = tinted(), LowPass(weight=0.7).bind(Curved(SIZE).eval())
    found = bound.surrogate(images, rows=ROWS, seed=0).softmax(dim=1)
    torch.testing.assert_close(found, bound.probabilities(images, rows=ROWS, seed=0))


def test_defences_without_steps_have_nothing_to_unroll():
    assert [one.__name__ for one in Purifier.__subclasses__() if "unrolled" in one.__dataclass_fields__] == [
        "SemanticDictionaries"
    ]
    bound = LowPass().bind(Curved(SIZE).eval())
    assert bound.unrolled() is bound
