"""What all attacks through a defence have in common, and when they ask the exact one."""

from collections import Counter
from copy import copy
from functools import partial
from itertools import pairwise
from math import ceil

import pytest
import torch

from nndefense.axes.ball import RAW, STANDARDIZED
from nndefense.core.streams import stream
from tests.unit.adaptive_cases import (
    ALWAYS,
    CLIMBERS,
    LIGHT,
    Fake,
    Surrogate,
    always,
    bound_of,
    case_of,
    every_attack,
    every_climber,
    grey,
    leads,
    made_up,
    norms,
    slope,
)
from tests.unit.attack_cases import (
    SPACES,
    Curved,
    draw_images,
    make_attack,
    make_context,
    make_problem,
    run,
)

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
    images, labels = grey(3)
    fake = Fake(slope(torch.ones(3, 6, 6), -1e4), always(0.9, 0.1))
    run(make_attack("guide_samples"), fake, images, labels, measure_loss=False)
    assert [len(fake.of(row)) for row in range(3)] == [9] * 3


@pytest.mark.parametrize("name", [one for one in CLIMBERS if one != "transfer"])
def test_every_step_has_its_own_draws_and_their_number_is_passed_on(name):
    images, labels = grey(2)
    fake = Fake(slope(torch.ones(3, 6, 6)), always(0.9, 0.1), random=True)
    run(make_attack(name, steps=12, draws=7), fake, images, labels, measure_loss=False)
    chosen = {seed for row in range(2) for *_, seed in fake.of(row)}
    assert chosen
    assert not chosen & (fake.seeds | {3})
    if name == "soft_retrieval":
        assert len(fake.seeds) == 12
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
