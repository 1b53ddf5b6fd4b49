"""Attacks through a defence: on fakes that remember what they are asked, on a made-up database, on a deployed one."""

from collections import Counter
from copy import copy, deepcopy
from functools import partial
from itertools import pairwise
from math import ceil, cos, pi

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks import ATTACKS
from nndefense.attacks.adaptive import Adaptive, Climber, value_and_gradient
from nndefense.axes.ball import RAW, STANDARDIZED
from nndefense.core.errors import InputError
from nndefense.core.streams import stream
from nndefense.database.index import build_index
from nndefense.database.softmax_store import ShardRows, SoftmaxStore
from nndefense.defenses.deployed import open_deployed, read_deployed
from nndefense.defenses.neighbors import NearestNeighbors
from nndefense.defenses.none import NoDefense
from nndefense.retrieval.weights import stored_weights
from tests.unit.attack_cases import (
    SPACES,
    Curved,
    both_l2_balls,
    draw_images,
    make_attack,
    make_context,
    make_problem,
    run,
    trained_net,
)
from tests.unit.deployed_case import LAYERS, QUERIES, describe, make_system, query_images

ADAPTIVE = sorted(name for name, entry in ATTACKS.items() if issubclass(entry.load(), Adaptive))
CLIMBERS = [name for name in ADAPTIVE if issubclass(ATTACKS[name].load(), Climber)]
every_attack = pytest.mark.parametrize("name", ADAPTIVE)
every_climber = pytest.mark.parametrize("name", CLIMBERS)
LIGHT = {"square": {"queries": 40}, "noise": {"tries": 8}}
ALWAYS = 1e9  # A slack with which the exact defence is asked at every chance.


class Fake:
    """A defence that is told what to answer, and remembers what it was asked.

    Args:
        logits: (images, rows, seed) -> (B, C), what can be differentiated.
        shares: likewise, its exact answers.
    """

    def __init__(self, logits, shares, random=False):
        self.logits, self.shares, self.random = logits, shares, random
        self.model, self.asked, self.climbed, self.seeds, self.memos = nn.Identity().eval(), [], [], set(), []

    def surrogate(self, images, *, rows, seed, draws=1, memo=None):
        self.climbed.append((rows.tolist(), images.detach().clone(), draws))
        self.seeds.add(seed)
        if memo is not None:
            memo["steps"] = memo.get("steps", 0) + 1
            self.memos.append(memo)
        return self.logits(images, rows, seed)

    def embed(self, images, *, rows, seed, draws=1, memo=None):
        return self.surrogate(images, rows=rows, seed=seed, draws=draws, memo=memo).softmax(dim=1)

    def landmarks(self, classes):
        return torch.eye(classes), torch.arange(classes), 1

    def pictures(self, places):
        return None

    def softened(self, temperature):
        return self

    def probabilities(self, images, *, rows, seed):
        shares = self.shares(images, rows, seed)
        self.asked += zip(rows.tolist(), images.clone(), shares, [seed] * len(rows), strict=True)
        return shares

    def of(self, row):
        """Images, answers and seeds of the questions about an image, in their order."""
        return [one[1:] for one in self.asked if one[0] == row]


class Witness(Fake):
    """Remembers what a defence is asked."""

    def __init__(self, target):
        super().__init__(None, None, target.random)
        self.target, self.model = target, target.model
        self.logits = lambda images, rows, seed: self.target.surrogate(images, rows=rows, seed=seed)
        self.shares = lambda images, rows, seed: self.target.probabilities(images, rows=rows, seed=seed)

    def embed(self, images, *, rows, seed, draws=1, memo=None):
        self.climbed.append((rows.tolist(), images.detach().clone(), 1))
        return self.target.embed(images, rows=rows, seed=seed, memo=memo)

    def landmarks(self, classes):
        return self.target.landmarks(classes)

    def softened(self, temperature):
        found = copy(self)
        found.target = self.target.softened(temperature)
        found.logits = lambda images, rows, seed: found.target.surrogate(images, rows=rows, seed=seed)
        return self if found.target is self.target else found


def always(*shares):
    return lambda images, rows, seed: torch.tensor(shares).expand(len(images), -1)


def slope(weight, bias=0.0):
    """Logits (0, w . x + bias): the log margin of class 1 is linear."""

    def logits(images, rows, seed):
        score = (images * weight).sum(dim=(1, 2, 3)) + bias
        return torch.stack([torch.zeros_like(score), score], dim=1)

    return logits


def grey(count=4, size=6, low=0.4, high=0.6, seed=0):
    """Images that no pixel's bound stops, and labels 0."""
    return draw_images(count, size, seed, low, high)[0], torch.zeros(count, dtype=torch.int64)


def leads(shares, labels):
    """Of the best wrong class over the right one, one image after the other."""
    found = [max(one[k] - one[y] for k in range(len(one)) if k != y) for one, y in zip(shares, labels, strict=True)]
    return torch.stack(found)


def unit(direction):
    return direction / direction.flatten(1).norm(dim=1)[:, None, None, None]


def norms(images):
    return images.flatten(1).double().norm(dim=1)


# -- a made-up database

SIDE, WIDTH, K = 2, 6, 9
MADE = 80


class Plane:
    """Codes (B, width) that are linear in the images (B, 3, 2, 2)."""

    bits = False

    def __init__(self, width=WIDTH):
        turn = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
        self.axes, self.scale = torch.from_numpy(10 * turn[:width]).float(), torch.ones(width)

    def __call__(self, images):
        return ((images.flatten(1) - 0.5)[:, None] * self.axes).sum(dim=2)

    def codes(self, images):
        return self(images).numpy()

    def images(self, codes):
        """Images with these codes."""
        return (0.5 + torch.as_tensor(codes).float() @ self.axes / 100).view(-1, 3, SIDE, SIDE)


def bound_of(codes, rows, **options):
    """Nearest neighbours among codes (N, d), with softmax rows (N, C)."""
    codes, rows = np.asarray(codes, np.float32), np.asarray(rows, np.float32)
    context = {
        "encode": Plane(codes.shape[1]),
        "shards": [(build_index(codes), np.arange(len(codes)))],
        "store": SoftmaxStore([(0, len(codes), rows, stored_weights(rows))]),
        "codes": ShardRows([(0, len(codes), codes)]),
    }
    return NearestNeighbors(**{"k": K, "weighting": "UW", **options}).bind(nn.Linear(1, 1).eval(), context)


def made_up(count=600, seed=0, width=WIDTH):
    """Codes in cells of twelve centres, each with one of four classes, and noisy rows."""
    rng = np.random.default_rng(seed)
    codes, centers = rng.normal(size=(count, width)), rng.normal(size=(12, width))
    cells = ((codes[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    logits = 4 * np.eye(4)[cells % 4] + rng.normal(size=(count, 4))
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return codes.astype(np.float32), rows.astype(np.float16).astype(np.float32)


def queries(count=MADE, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return (0.5 + 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=draw)).clamp(0, 1)


def answers(bound, images):
    return bound.probabilities(images, rows=torch.arange(len(images)), seed=0).argmax(dim=1)


def broken_of(attack, target, images, labels, judge=None, **more):
    found = run(attack, target, images, labels, measure_loss=False, **more).images
    return answers(judge or target, found) != labels


def case_of(name):
    """An attack, a defence whose answers are remembered, images, labels and context."""
    images = queries(24)
    bound = bound_of(*made_up())
    context = {"surrogates": [Surrogate(seed) for seed in (0, 1)]}
    return make_attack(name, **LIGHT.get(name, {})), Witness(bound), images, answers(bound, images), context


class Surrogate(nn.Module):
    """A linear network that remembers the images it sees."""

    def __init__(self, seed, classes=4, size=SIDE):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 3, size, size, generator=draw))
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return (images[:, None] * self.weight).sum(dim=(2, 3, 4))


# -- what all have in common


@every_attack
def test_the_first_image_that_breaks_the_exact_defence_is_kept_and_else_the_one_that_came_furthest(name):
    attack, witness, images, labels, context = case_of(name)
    result = run(attack, witness, images, labels, epsilon=0.04, context=context)
    ends = Counter()
    for row, label in enumerate(labels.tolist()):
        asked, shares = ([one[place] for one in witness.of(row)] for place in (0, 1))
        assert torch.equal(asked[0], images[row])
        wrong = [int(one.argmax()) != label for one in shares]
        if any(wrong):
            assert wrong.index(True) == len(wrong) - 1
            assert torch.equal(result.images[row], asked[-1])
            ends["broken"] += 1
        else:
            best = leads(shares, [label] * len(shares)).argmax()
            assert torch.equal(result.images[row], asked[best])
            ends["held"] += 1
        assert (SPACES[RAW].delta(images[row].expand(len(asked), -1, -1, -1), torch.stack(asked)) <= 0.04001).all()
    assert min(ends["broken"], ends["held"]) > 0


def test_a_tie_that_breaks_counts_though_it_leads_by_no_more_than_one_that_does_not():
    images = grey(1)[0]

    def ties(points, rows, seed):
        return torch.tensor([[0.2, 0.4, 0.4]]) if torch.equal(points, images) else torch.tensor([[0.4, 0.4, 0.2]])

    fake = Fake(None, ties)
    found = run(make_attack("noise"), fake, images, torch.tensor([1]), measure_loss=False).images
    assert len(fake.asked) == 2
    assert torch.equal(found[0], fake.of(0)[1][0])


@every_climber
def test_images_that_were_broken_are_left_alone(name):
    attack, witness, images, labels, context = case_of(name)
    run(attack, witness, images, labels, epsilon=0.04, context=context)
    looks = [one for network in context["surrogates"] for one in map(len, network.seen)] + [
        len(rows) for rows, *_ in witness.climbed
    ]
    assert max(looks) == len(images)
    assert min(looks) < len(images)
    if name in ("soft_retrieval", "guide_samples"):
        steps = Counter(row for rows, *_ in witness.climbed for row in rows)
        asked = Counter(one[0] for one in witness.asked)
        first, last = (pick(asked, key=asked.__getitem__) for pick in (min, max))
        assert steps[first] < steps[last]


@every_attack
@pytest.mark.parametrize("seed", [0, 1])
def test_no_image_depends_on_the_others_in_its_batch(name, seed):
    attack, witness, images, labels, context = case_of(name)
    more = {"epsilon": 0.04, "context": context, "seed": seed}
    whole = run(attack, witness.target, images, labels, **more).images
    rows = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
    for part in rows.split([1, 4, 19]):
        found = run(attack, witness.target, images[part], labels[part], rows=part, **more).images
        torch.testing.assert_close(found, whole[part], rtol=0, atol=1e-6)


@every_attack
def test_every_image_has_its_own_radius(name):
    images, labels = grey(5)
    images = images * torch.tensor([0.02, 0.1, 0.4, 0.8, 1.0])[:, None, None, None]
    weight = 0.05 * torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(1))
    network = Surrogate(2, 2, 6)
    fake = Fake(slope(weight, -3.0), always(0.9, 0.1))
    run(make_attack(name, **LIGHT.get(name, {})), fake, images, labels, epsilon=0.1, context={"surrogates": [network]})
    for row in range(5):
        furthest = max(norms((one[0] - images[row])[None]).item() for one in fake.of(row))
        assert furthest == pytest.approx(0.1 * norms(images)[row].item(), rel=1e-3)


@every_attack
@pytest.mark.parametrize("ball", [RAW, STANDARDIZED], ids=str)
def test_an_image_that_is_wrong_anyway_stays_as_it_is(name, ball):
    model, images = Curved(), draw_images(8)[0]
    images[0, 0, 0] = torch.tensor([0.001, 0.01, 0.02, 0.003, 0.04, 0.005])
    labels = (model(images).argmax(dim=1) + 1) % 3
    context = make_context(images)
    result = run(make_attack(name, **LIGHT.get(name, {})), model.eval(), images, labels, ball=ball, context=context)
    assert torch.equal(result.images, images)
    assert not result.delta.any()
    assert not result.saturated.any()


@every_climber
@pytest.mark.parametrize("number", [0.0, float("nan")])
def test_an_image_without_a_gradient_is_told_and_left_alone(name, number):
    images, labels = grey()
    factor = torch.tensor([1.0, 1.0, number, 1.0])

    def logits(images, rows, seed):
        return slope(0.05 * torch.ones(3, 6, 6), -5.0)(images, rows, seed) * factor[rows][:, None]

    fake = Fake(logits, always(0.9, 0.1))
    network = Surrogate(0, 2, 6)
    network.forward = lambda images: logits(images, torch.arange(4), 0)
    found = run(make_attack(name), fake, images, labels, context={"surrogates": [network]}, measure_loss=False)
    assert found.saturated.tolist() == [False, False, True, False]
    assert all(torch.equal(one[0], images[2]) for one in fake.of(2))
    assert not any(torch.equal(fake.of(row)[-1][0], images[row]) for row in (0, 1, 3))


# -- who is asked, and when


def test_the_exact_defence_decides_where_the_surrogate_lies():
    """The surrogate says that all are broken, and becomes surer of it by light; the exact defence tells rows apart."""
    images, labels = grey(6)

    def exact(images, rows, seed):
        light = images.mean(dim=(1, 2, 3)) > 0.53
        wrong = torch.where(rows < 2, light, torch.where(rows < 4, ~light & (rows == 9), False))
        return torch.where(wrong[:, None], torch.tensor([0.2, 0.8]), torch.tensor([0.6, 0.4]))

    fake = Fake(slope(torch.ones(3, 6, 6), 50.0), exact)
    assert (fake.surrogate(images, rows=torch.arange(6), seed=0).argmax(dim=1) == 1).all()
    assert (images.mean(dim=(1, 2, 3)) < 0.53).all()
    found = run(make_attack("soft_retrieval"), fake, images, labels, epsilon=0.2).images
    assert (found[:2].mean(dim=(1, 2, 3)) > 0.53).all()
    assert torch.equal(found[2:], images[2:])
    assert len(fake.of(0)) < len(fake.of(2))


@pytest.mark.parametrize("refresh", [1, 5, 7, 40, 41, 1000])
def test_the_defence_is_asked_at_every_refresh_and_at_the_end(refresh):
    images, labels = grey(3)
    fake = Fake(slope(torch.ones(3, 6, 6)), always(0.9, 0.1))
    run(make_attack("soft_retrieval", refresh=refresh, slack=ALWAYS), fake, images, labels, measure_loss=False)
    assert [len(fake.of(row)) for row in range(3)] == [1 + ceil(40 / refresh)] * 3
    assert len(fake.climbed) == 40
    # What was looked up serves until the next refresh, and no longer.
    each = list({id(one): one["steps"] for one in fake.memos}.values())
    assert each == [refresh] * (40 // refresh) + [40 % refresh] * (40 % refresh > 0)


@pytest.mark.parametrize(("slack", "asked"), [(1.9, 2), (2.1, 9)])
def test_only_images_whose_margin_lacks_little_are_asked_about_before_the_end(slack, asked):
    images, labels = grey(3)
    fake = Fake(slope(torch.zeros(3, 6, 6), -2.0), always(0.9, 0.1))
    run(make_attack("soft_retrieval", slack=slack), fake, images, labels, measure_loss=False)
    assert [len(fake.of(row)) for row in range(3)] == [asked] * 3


def test_what_is_no_margin_does_not_keep_the_defence_from_being_asked():
    for name, asked in (("guide_samples", 9), ("transfer", 9)):
        images, labels = grey(3)
        network = Surrogate(0, 2, 6)
        fake = Fake(slope(torch.ones(3, 6, 6), -1e4), always(0.9, 0.1))
        run(make_attack(name), fake, images, labels, context={"surrogates": [network]}, measure_loss=False)
        assert [len(fake.of(row)) for row in range(3)] == [asked] * 3


@every_climber
def test_every_step_has_its_own_draws_and_their_number_is_passed_on(name):
    images, labels = grey(2)
    fake = Fake(slope(torch.ones(3, 6, 6)), always(0.9, 0.1), random=True)
    network = Surrogate(0, 2, 6)
    run(
        make_attack(name, steps=12, draws=7),
        fake,
        images,
        labels,
        context={"surrogates": [network]},
        measure_loss=False,
    )
    chosen = {seed for row in range(2) for *_, seed in fake.of(row)}
    assert chosen
    assert not chosen & (fake.seeds | {3})
    if name == "soft_retrieval":
        assert len(fake.seeds) == 12
    if name != "transfer":
        # What is looked at once, before the first step, needs no more than one.
        assert {draws for *_, draws in fake.climbed} <= {1, 7}
        assert [draws for *_, draws in fake.climbed].count(7) == 12


def test_a_random_defence_is_broken_where_every_chosen_draw_is():
    images, labels = grey(40)

    def exact(images, rows, seed):
        limits = torch.tensor([0.48 + 0.12 * stream(seed, row).random() for row in rows.tolist()])
        wrong = images.mean(dim=(1, 2, 3)) > limits
        return torch.where(wrong[:, None], torch.tensor([0.4, 0.6]), torch.tensor([0.7, 0.3]))

    counts = []
    for chosen in (1, 3, 10):
        fake = Fake(slope(torch.ones(3, 6, 6)), exact, random=True)
        attack = make_attack("soft_retrieval", chosen=chosen, refresh=1, slack=ALWAYS)
        found = run(attack, fake, images, labels, epsilon=0.15, measure_loss=False).images
        seeds = list(dict.fromkeys(seed for row in range(40) for *_, seed in fake.of(row)))
        # An evaluation of this seed has other draws.
        assert 3 not in seeds
        assert len(seeds) == chosen
        broken, partly = 0, 0
        for row in range(40):
            asked = fake.of(row)
            begins = [place for place, one in enumerate(asked) if one[2] == seeds[0]] + [len(asked)]
            rounds = [asked[start:stop] for start, stop in pairwise(begins)]
            for one in rounds:
                assert [seed for *_, seed in one] == seeds[: len(one)]
                assert all(torch.equal(image, one[0][0]) for image, *_ in one)
            wrong = [[int(shares.argmax()) != 0 for _, shares, _ in one] for one in rounds]
            assert not any(len(one) == chosen and all(one) for one in wrong[:-1])
            if len(wrong[-1]) == chosen and all(wrong[-1]):
                assert torch.equal(found[row], rounds[-1][0][0])
                broken += 1
            else:
                assert len(rounds) == 41
            partly += any(any(one) for one in wrong[:-1])
        assert chosen == 1 or partly > broken
        counts.append(broken)
    assert counts[0] > counts[1] > counts[2] > 0


def test_a_start_is_the_image_and_others_are_random_ones_of_those_that_hold():
    images, labels = grey(4)

    def exact(images, rows, seed):
        wrong = (rows == 1) & (images.mean(dim=(1, 2, 3)) > 0.52)
        return torch.where(wrong[:, None], torch.tensor([0.4, 0.6]), torch.tensor([0.7, 0.3]))

    fake = Fake(slope(torch.ones(3, 6, 6)), exact)
    run(make_attack("soft_retrieval", restarts=3, steps=10), fake, images, labels, epsilon=0.2, measure_loss=False)
    starts = [fake.climbed[place] for place in (0, 10, 20)]
    assert torch.equal(starts[0][1], images)
    assert [rows for rows, *_ in starts] == [[0, 1, 2, 3], [0, 2, 3], [0, 2, 3]]
    problem = make_problem(fake, images, labels, epsilon=0.2)
    for number, (rows, points, _) in enumerate(starts[1:], start=1):
        expected = problem.region.random_start(torch.arange(4), 3, number)[rows]
        torch.testing.assert_close(points, expected)
        assert (norms(points - images[rows]) > 0).all()


def test_temperatures_are_tried_one_after_the_other_where_there_are_any():
    images, labels = grey(2)

    class Tempered(Fake):
        def softened(self, temperature):
            found = copy(self)
            found.logits = partial(self._logits, temperature)
            return found

        def _logits(self, temperature, images, rows, seed):
            self.tried.append(temperature)
            return slope(torch.ones(3, 6, 6))(images, rows, seed)

    fake = Tempered(None, always(0.9, 0.1))
    fake.tried = []
    run(make_attack("soft_retrieval", steps=2, temperatures=[3.0, 0.5]), fake, images, labels, measure_loss=False)
    assert fake.tried == [3.0, 3.0, 0.5, 0.5]
    bound = bound_of(*made_up())
    assert bound.softened(0.3).defense.temperature == 0.3
    assert bound.softened(0.3).defense.k == bound.defense.k
    plain = Fake(slope(torch.ones(3, 6, 6)), always(0.9, 0.1))
    run(make_attack("soft_retrieval", steps=2, temperatures=[3.0, 0.5]), plain, images, labels, measure_loss=False)
    assert len(plain.climbed) == 2


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
    attack = make_attack("transfer", refresh=100)
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
