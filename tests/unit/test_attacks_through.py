"""Each attack through a defence: against formulas, on a made-up database, and on a deployed one."""

from collections import Counter
from copy import deepcopy
from functools import partial
from math import cos, pi

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks.adaptive import value_and_gradient
from nndefense.axes.ball import RAW
from nndefense.core.errors import InputError
from nndefense.defenses.deployed import open_deployed, read_deployed
from nndefense.defenses.none import NoDefense
from tests.unit.adaptive_cases import (
    ALWAYS,
    SIDE,
    Fake,
    K,
    Plane,
    Surrogate,
    Witness,
    always,
    answers,
    bound_of,
    broken_of,
    grey,
    leads,
    made_up,
    queries,
    slope,
    unit,
)
from tests.unit.attack_cases import (
    SPACES,
    Curved,
    both_l2_balls,
    draw_images,
    make_attack,
    make_problem,
    run,
    trained_net,
)
from tests.unit.deployed_case import LAYERS, QUERIES, describe, make_system, query_images

# -- A1


def ascent(model, images, labels, epsilon, steps, refresh):
    """A1 of a bare network, written out: momentum along the margin, the first success is kept."""
    radius = epsilon * images.double().flatten(1).norm(dim=1)
    z, velocity, best = images.clone(), 0.0, images.clone()
    furthest, broken = leads(model(images).softmax(dim=1), labels), model(images).argmax(dim=1) != labels
    for step in range(steps):
        point = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(leads(model(point), labels).sum(), point)
        velocity = 0.75 * velocity + unit(gradient)
        length = (0.05 + 0.95 * (1 + cos(pi * step / (steps - 1))) / 2) * radius
        change = z + unit(velocity) * length.float()[:, None, None, None] - images
        size = change.flatten(1).norm(dim=1)
        change = change * torch.where(size > radius, radius.float() / size, 1.0)[:, None, None, None]
        z = (images + change).clamp(0, 1)
        if (step + 1) % refresh == 0 or step == steps - 1:
            shares = model(z).softmax(dim=1)
            lead = leads(shares, labels)
            take = ~broken & (lead > furthest)
            best, furthest = torch.where(take[:, None, None, None], z, best), torch.where(take, lead, furthest)
            broken |= shares.argmax(dim=1) != labels
    return best.detach(), broken


@pytest.mark.parametrize(("epsilon", "refresh"), [(0.03, 5), (0.1, 5), (0.1, 1), (0.1, 100)])
def test_soft_retrieval_of_a_bare_network_is_an_ascent_of_its_margin(epsilon, refresh):
    model, images = Curved().eval(), draw_images(24)[0]
    labels = model(images).argmax(dim=1)
    attack = make_attack("soft_retrieval", refresh=refresh, slack=ALWAYS)
    found = run(attack, model, images, labels, epsilon=epsilon).images
    expected, broken = ascent(model, images, labels, epsilon, 40, refresh)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(model(found).argmax(dim=1) != labels, broken)
    assert 0 < broken.sum() < 24
    bound = NoDefense().bind(model)
    assert torch.equal(run(attack, bound, images, labels, epsilon=epsilon).images, found)


def test_where_all_rows_vote_alike_nothing_is_broken_and_no_gradient_is_left():
    codes, rows = made_up(40)
    bound = bound_of(codes, rows, k=40)
    images = queries(12)
    exact = bound.probabilities(images, rows=torch.arange(12), seed=0)
    np.testing.assert_allclose(exact.numpy(), rows.mean(axis=0)[None].repeat(12, 0), rtol=1e-4)
    labels = exact.argmax(dim=1)
    cold = run(make_attack("soft_retrieval", temperatures=[1e-3]), bound, images, labels, epsilon=1.0)
    assert cold.saturated.all()
    assert torch.equal(cold.images, images)
    warm = run(make_attack("soft_retrieval"), bound, images, labels, epsilon=1.0)
    assert not warm.saturated.any()
    assert (answers(bound, warm.images) == labels).all()


def soft_margin(codes, rows, labels, near, reach, temperature):
    """log max_c P_c - log P_y of (B, M, d) codes, (B, M, C) rows and (B, 1) reaches, in float64."""

    def margin(images):
        asked = (images.double().flatten(1) - 0.5) @ Plane().axes.double().T
        distances = (asked[:, None] - codes[near]).square().sum(dim=2)
        says = torch.sigmoid((reach - distances) / (temperature * reach))
        shares = (says[:, :, None] * rows[near]).sum(dim=1) / says.sum(dim=1, keepdim=True)
        return leads(shares.log(), labels)

    return margin


@pytest.mark.parametrize(("k", "temperature"), [(K, 1.0), (K, 0.3), (K, 3.0), (600, 0.5)])
def test_the_margin_and_its_gradient_are_those_of_the_formula_by_finite_differences(k, temperature):
    codes, rows = made_up()
    bound, images = bound_of(codes, rows, k=k, candidates=10), queries(5) * 0.8 + 0.1
    labels = answers(bound, images)
    attack = make_attack("soft_retrieval")
    part = make_problem(bound, images, labels)
    ascended = partial(attack.log_margin(bound.softened(temperature)), part, seed=0, memo={})
    value, gradient = value_and_gradient(ascended, images)
    codes, rows = torch.from_numpy(codes).double(), torch.from_numpy(rows).double()
    asked = (images.double().flatten(1) - 0.5) @ Plane().axes.double().T
    distances, near = (asked[:, None] - codes).square().sum(dim=2).sort(dim=1)
    reach = (distances[:, k - 1 : k] + distances[:, k : k + 1]) / 2 if k < 600 else 2 * distances[:, -1:]
    margin = soft_margin(codes, rows, labels, near[:, : 10 * k], reach, temperature)
    torch.testing.assert_close(value.double(), margin(images), rtol=1e-4, atol=1e-5)
    for place in np.ndindex(3, SIDE, SIDE):
        step = torch.zeros_like(images).double()
        step[(slice(None), *place)] = 1e-6
        difference = (margin(images + step) - margin(images - step)) / 2e-6
        torch.testing.assert_close(gradient[(slice(None), *place)].double(), difference, rtol=1e-3, atol=1e-4)


class Stale(Witness):
    """Soft votes around where an image was first seen: its candidates, its reach, or both are kept."""

    def __init__(self, bound, codes, rows, temperature, kept):
        super().__init__(bound)
        self.codes, self.rows, self.temperature, self.kept = *map(torch.from_numpy, (codes, rows)), temperature, kept
        self.first = {}

    def softened(self, temperature):
        return self

    def surrogate(self, images, *, rows, seed, draws=1, memo=None):
        options = self.target.defense
        distances = (self.target.context["encode"](images)[:, None] - self.codes).square().sum(dim=2)
        ordered, near = distances.detach().sort(dim=1)
        reach, near = ordered[:, options.k - 1 : options.k + 1].mean(dim=1), near[:, : options.k * options.candidates]
        for place, row in enumerate(rows.tolist()):
            self.first.setdefault(row, (reach[place], near[place]))
        if "reach" in self.kept:
            reach = torch.stack([self.first[row][0] for row in rows.tolist()])
        if "candidates" in self.kept:
            near = torch.stack([self.first[row][1] for row in rows.tolist()])
        says = torch.sigmoid((reach[:, None] - distances.gather(1, near)) / (self.temperature * reach[:, None]))
        shares = (says[..., None] * self.rows[near]).sum(dim=1)
        return (shares / shares.sum(dim=1, keepdim=True).clamp_min(1e-30)).clamp_min(1e-30).log()


@pytest.mark.parametrize(
    ("candidates", "temperature", "kept", "lost"),
    [(1, 1.0, ("candidates",), 5), (10, 0.1, ("reach",), 3), (10, 0.1, ("reach", "candidates"), 3)],
    ids=["candidates", "reach", "both"],
)
def test_what_was_looked_up_where_the_image_was_is_weaker(candidates, temperature, kept, lost):
    codes, rows = made_up()
    bound, images = bound_of(codes, rows, candidates=candidates), queries()
    labels = answers(bound, images)
    attack = make_attack("soft_retrieval", temperatures=[temperature], refresh=1)
    plain, fresh, stale = (
        int(broken_of(attack, target, images, labels, judge=bound, epsilon=0.05).sum())
        for target in (
            bound,
            Stale(bound, codes, rows, temperature, ()),
            Stale(bound, codes, rows, temperature, kept),
        )
    )
    assert abs(plain - fresh) <= 1
    assert stale <= plain - lost


def test_the_less_often_neighbours_are_looked_up_the_less_is_broken():
    codes, rows = made_up()
    bound, images = bound_of(codes, rows, candidates=1), queries()
    labels = answers(bound, images)
    counts = [
        int(broken_of(make_attack("soft_retrieval", refresh=every), bound, images, labels, epsilon=0.05).sum())
        for every in (5, 20, 41)
    ]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("schedule", ["momentum", "apgd"])
def test_steps_along_the_gradient_break_more_than_steps_along_its_signs(schedule):
    codes, rows = made_up(width=3)
    bound, images = bound_of(codes, rows), queries(160)
    labels = answers(bound, images)
    l2, sign = (
        int(
            broken_of(
                make_attack("soft_retrieval", direction=direction, schedule=schedule),
                bound,
                images,
                labels,
                epsilon=0.05,
            ).sum()
        )
        for direction in ("l2", "sign")
    )
    assert l2 >= sign + 5


# -- A2


def guide_formula(code, codes, classes, label, k, guides, push):
    """The objective of guide samples of one image around where it is first asked, by brute force.

    code: of an image; codes (N, d) and classes of the database.
    """
    chosen = []

    def objective(image):
        asked = code(image)
        if not chosen:
            distances = [(asked - one).square().sum().item() for one in codes]
            order = sorted(range(len(codes)), key=distances.__getitem__)
            nearest = next(classes[place] for place in order if classes[place] != label)
            wrong, right = ([place for place in order if classes[place] == one][:guides] for one in (nearest, label))
            chosen.extend((wrong, right, distances[order[k - 1]]))
        wrong, right, reach = chosen
        drawn = [torch.relu((asked - codes[place]).square().sum() / reach - 1) for place in wrong]
        pushed = [torch.relu(1 - (asked - codes[place]).square().sum() / reach) for place in right]
        return -sum(drawn) / len(drawn) - push * sum(pushed) / len(pushed)

    return objective


def first_step(formula, image, radius):
    point = image.double().requires_grad_()
    (gradient,) = torch.autograd.grad(formula(point), point)
    moved = image + radius * image.double().norm() * gradient / gradient.norm().clamp_min(1e-30)
    return moved.clamp(0, 1)


@pytest.mark.parametrize("push", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("guides", [1, 3, 20])
def test_guides_draw_in_and_push_out_as_the_formula_says(push, guides):
    codes, rows = made_up(200)
    bound, images = bound_of(codes, rows), queries(6)
    labels, witness, axes = answers(bound, images), Witness(bound), bound.context["encode"].axes.double()
    attack = make_attack("guide_samples", steps=1, guides=guides, push=push)
    run(attack, witness, images, labels, epsilon=0.02, measure_loss=False)
    stored, classes = torch.from_numpy(codes).double(), rows.argmax(axis=1).tolist()
    assert min(Counter(classes).values()) >= 20
    for row, label in enumerate(labels.tolist()):
        formula = guide_formula(lambda x: axes @ (x.flatten() - 0.5), stored, classes, label, K, guides, push)
        expected = first_step(formula, images[row], 0.02)
        torch.testing.assert_close(witness.of(row)[1][0].double(), expected, rtol=0, atol=1e-5)


def test_guides_of_a_bare_network_are_the_certain_answers():
    model, images = Curved().eval(), draw_images(12)[0]
    labels = model(images).argmax(dim=1)
    witness = Witness(NoDefense().bind(model))
    # The only right answer is at the border, where rounding says whether it is pushed.
    run(make_attack("guide_samples", steps=1, push=0.0), witness, images, labels, epsilon=1e-3, measure_loss=False)
    double = deepcopy(model).double()
    for row, label in enumerate(labels.tolist()):
        formula = guide_formula(
            lambda x: double(x[None])[0].softmax(dim=0), torch.eye(3).double(), [0, 1, 2], label, 1, 1, 0.0
        )
        expected = first_step(formula, images[row], 1e-3)
        torch.testing.assert_close(witness.of(row)[1][0].double(), expected, rtol=0, atol=1e-5)


def test_pushing_right_guides_out_makes_a_difference_and_breaks_more():
    codes, rows = made_up()
    bound, images = bound_of(codes, rows), queries()
    labels = answers(bound, images)
    pull, both = (make_attack("guide_samples", push=push) for push in (0.0, 1.0))
    more = {"epsilon": 0.04}
    assert not torch.equal(*(run(one, bound, images, labels, **more).images for one in (pull, both)))
    assert broken_of(both, bound, images, labels, **more).sum() > broken_of(pull, bound, images, labels, **more).sum()


@pytest.mark.parametrize("name", ["guide_samples", "feature_matching"])
def test_classes_of_the_database_are_what_the_network_says_of_it(name):
    """What lies to the left is of another class than the network says, and so is what lies to the right."""
    rng = np.random.default_rng(0)
    places = np.repeat([[0.0, 0.0], [1.5, 0.0], [-3.0, 0.0]], 30, axis=0)
    truth, said = np.repeat([0, 1, 0], 30), np.repeat([0, 0, 1], 30)
    codes = places + 0.1 * rng.normal(size=places.shape)
    assert (truth != said).mean() > 0.6
    bound = bound_of(codes, 0.1 + 0.8 * np.eye(2)[said], k=5)
    stored, classes, k = bound.landmarks(2)
    assert classes.tolist() == said.tolist()
    np.testing.assert_array_equal(stored.numpy(), codes.astype(np.float32))
    assert k == 5
    witness = Witness(bound)
    encode = bound.context["encode"]
    image = encode.images([[0.0, 0.02]])
    run(make_attack(name, refresh=100), witness, image, torch.tensor([0]), epsilon=0.1, measure_loss=False)
    moved = torch.stack([one[0] for one in witness.of(0)[1:]])
    assert (encode(moved)[:, 0] < -1).all()


# -- A3


def test_feature_matching_goes_straight_to_the_centres_of_the_nearest_wrong_classes():
    codes, rows = made_up()
    bound, images = bound_of(codes, rows), queries(12)
    labels, encode, witness = answers(bound, images), bound.context["encode"], Witness(bound)
    run(make_attack("feature_matching", steps=2, targets=3), witness, images, labels, epsilon=0.01, measure_loss=False)
    classes = torch.from_numpy(rows.argmax(axis=1))
    centers = torch.stack([torch.from_numpy(codes[classes == one]).mean(dim=0) for one in range(4)])
    seen = 0
    for row, label in enumerate(labels.tolist()):
        code = encode(images[row : row + 1])[0]
        goals = sorted((one for one in range(4) if one != label), key=lambda one: (code - centers[one]).norm())
        for number, goal in enumerate(goals):
            asked = witness.of(row)
            if len(asked) <= 1 + 2 * number:
                break
            along = ((centers[goal] - code) @ encode.axes).view(3, SIDE, SIDE)
            expected = images[row] + 0.01 * images[row].norm() * along / along.norm()
            torch.testing.assert_close(asked[1 + 2 * number][0], expected, rtol=0, atol=1e-5)
            seen += 1
    assert seen > 20


def test_feature_matching_goes_on_through_the_votes_from_where_it_arrived():
    codes, rows = made_up()
    bound, images = bound_of(codes, rows), queries(4)
    labels, fake = answers(bound, images), Witness(bound)
    fake.shares = lambda images, rows, seed: nn.functional.one_hot(labels[rows], 4).float()
    run(make_attack("feature_matching", steps=2, targets=1), fake, images, labels, epsilon=0.05, measure_loss=False)
    arrived, moved = (torch.stack([fake.of(row)[place][0] for row in range(4)]) for place in (1, 2))
    torch.testing.assert_close(fake.climbed[-1][1], arrived)
    margins = [leads(bound.surrogate(points, rows=torch.arange(4), seed=0), labels) for points in (arrived, moved)]
    assert (margins[1] > margins[0]).all()


def test_feature_matching_reaches_a_centre_within_the_budget():
    codes, rows = made_up()
    bound, images = bound_of(codes, rows), queries(12)
    labels, encode = answers(bound, images), bound.context["encode"]
    fake = Witness(bound)
    fake.shares = lambda images, rows, seed: nn.functional.one_hot(labels[rows], 4).float()
    run(make_attack("feature_matching", refresh=1000), fake, images, labels, epsilon=0.2, measure_loss=False)
    classes = torch.from_numpy(rows.argmax(axis=1))
    for row, label in enumerate(labels.tolist()):
        asked = torch.stack([one[0] for one in fake.of(row)])
        assert len(asked) == 5
        centers = torch.stack([torch.from_numpy(codes[classes == one]).mean(dim=0) for one in range(4) if one != label])
        distances = (encode(asked)[:, None] - centers).norm(dim=2)
        goals = distances[0].argsort()
        for place, goal in ((1, goals[0]), (3, goals[1])):
            assert distances[place, goal] < 0.5 * distances[0, goal]


# -- A5, noise


def test_transfer_climbs_each_network_and_then_their_mean():
    images, labels = grey(3)
    networks = [Surrogate(seed, 2, 6) for seed in (3, 4, 5)]
    fake = Fake(slope(torch.ones(3, 6, 6)), always(0.9, 0.1))
    attack = make_attack("transfer")
    run(attack, fake, images, labels, epsilon=0.1, context={"surrogates": networks}, measure_loss=False)
    assert not fake.climbed
    assert [len(network.seen) for network in networks] == [80, 80, 80]
    along = [network.weight.detach()[1] - network.weight.detach()[0] for network in networks]
    along.append(sum(along))
    for row in range(3):
        asked = fake.of(row)
        assert len(asked) == 5
        for (image, *_), direction in zip(asked[1:], along, strict=True):
            expected = images[row] + 0.1 * images[row].norm() * direction / direction.norm()
            torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


def test_transfer_needs_networks_and_one_is_not_climbed_twice():
    images, labels = grey(3)
    fake = Fake(slope(torch.ones(3, 6, 6)), always(0.9, 0.1))
    with pytest.raises(InputError, match="needs context 'surrogates'"):
        run(make_attack("transfer"), fake, images, labels)
    network = Surrogate(0, 2, 6)
    run(make_attack("transfer"), fake, images, labels, context={"surrogates": [network]}, measure_loss=False)
    assert len(network.seen) == 40


@both_l2_balls
@pytest.mark.parametrize(("low", "high"), [(0.4, 0.6), (0.0, 0.02)], ids=["grey", "dark"])
def test_noise_spends_the_budget_and_every_try_is_another(ball, low, high):
    images, labels = grey(3, low=low, high=high)
    fake = Fake(None, always(0.9, 0.1))
    run(make_attack("noise", tries=4, restarts=2), fake, images, labels, ball=ball, epsilon=0.05, measure_loss=False)
    for row in range(3):
        asked = torch.stack([one[0] for one in fake.of(row)[1:]])
        assert len(asked) == 8
        delta = SPACES[ball].delta(images[row].expand_as(asked), asked)
        torch.testing.assert_close(delta, torch.full((8,), 0.05, dtype=torch.float64), rtol=1e-4, atol=0)
        likeness = nn.functional.normalize((asked - images[row]).flatten(1), dim=1)
        likeness = likeness @ likeness.T - torch.eye(8)
        # Independent directions in 108 dimensions: 0.5 is five standard deviations. Of dark pixels half can not fall.
        assert likeness.max() < (0.5 if low else 0.9)


# -- stronger than what went before


def test_attacks_through_the_defence_break_more_than_noise_and_transfer():
    model, images, labels = trained_net()
    bound = NoDefense().bind(model)
    context = {"surrogates": [Curved(12, seed) for seed in (1, 2)]}
    left = {
        name: (~broken_of(make_attack(name), bound, images, labels, epsilon=0.12, context=context)).float().mean()
        for name in ("noise", "transfer", "guide_samples", "soft_retrieval")
    }
    assert left["soft_retrieval"] < left["noise"] - 0.3
    assert left["soft_retrieval"] < left["transfer"] - 0.3
    assert left["guide_samples"] < left["noise"] - 0.3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_system(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize(("layer", "epsilon", "points"), [(LAYERS[0], 0.02, 0.05), (LAYERS[1], 0.04, 0.1)])
def test_a_deployed_defence_is_weaker_than_attacks_on_its_network_say(root, layer, epsilon, points):
    images, labels = query_images(root)
    bound = open_deployed(read_deployed(describe(root, layer, f"{layer}.json")))
    rows = torch.arange(QUERIES)
    gray, adaptive = (
        run(attack, target, images, labels, epsilon=epsilon, rows=rows, measure_loss=False).images
        for attack, target in (
            (make_attack("pgd", steps=10), bound.model),
            (make_attack("soft_retrieval"), bound),
        )
    )
    clean, transferred, through = (
        (answers(bound, points) == labels).float().mean() for points in (images, gray, adaptive)
    )
    assert transferred <= clean
    assert through <= transferred - points
    assert (SPACES[RAW].delta(images, adaptive) <= epsilon * 1.00001).all()
