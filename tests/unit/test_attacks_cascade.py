"""The worst case over attacks: against a walk image by image on a fake defence, and on a trained network."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks.base import Attack
from nndefense.attacks.cascade import DRAWS, Cascade, worst_case
from nndefense.axes.ball import BALLS, RAW, STANDARDIZED
from nndefense.core.errors import ConfigError
from nndefense.defenses.none import NoDefense
from nndefense.models.build import freeze
from tests.unit.attack_cases import MEAN, STD, Curved, both_l2_balls, make_attack, trained_net

EPSILONS = (0.02, 0.05, 0.1)
DARK, COUNT = 0.4, 40


class Limits:
    """Images of one grey are of class 0 up to a limit that every row has, brighter ones of class 1."""

    random = False

    def __init__(self, limits, random=False):
        self.limits, self.random = torch.as_tensor(limits), random
        self.model, self.asked, self.seeds = nn.Linear(1, 1).eval(), [], []

    def surrogate(self, images, *, rows, seed, draws=1, memo=None):
        return images.mean(dim=(1, 2, 3))[:, None] * torch.tensor([-1.0, 1.0])

    def probabilities(self, images, *, rows, seed):
        self.asked += rows.tolist()
        self.seeds.append(seed)
        over = images.mean(dim=(1, 2, 3)) - self.limits[rows]
        if self.random:
            over = over - 0.01 * (seed % 7) / 7
        share = (0.5 + over).clamp(0, 1).float()
        return torch.stack([1 - share, share], dim=1)


@dataclass(frozen=True, kw_only=True)
class Brighten(Attack):
    """Spends a tenth of the budget in each step, on rows of a remainder by `every`."""

    steps: int = 5
    every: int = 1
    runs: ClassVar[list] = []

    def perturb(self, problem, restart):
        share = min(self.steps / 10, 1) * (problem.rows % self.every == 0)
        self.runs.append((self.steps, self.every, problem.rows.tolist(), problem.seed))
        moved = problem.region.center * (1 + self.epsilon(problem) * share[:, None, None, None])
        return moved.float(), share == 0

    @staticmethod
    def epsilon(problem):
        return (problem.region.radius / problem.images.double().flatten(1).norm(dim=1))[:, None, None, None]


@pytest.fixture(autouse=True)
def _forget():
    Brighten.runs.clear()


ATTACKS = {"thirds": Brighten(steps=10, every=3), "half": Brighten(steps=5), "less": Brighten(steps=2)}


def limits():
    """Of which three are below the images' grey, and some are out of all reach."""
    rng = np.random.default_rng(0)
    found = DARK * (1 + rng.uniform(0, 0.12, COUNT))
    found[[4, 17, 30]] = 0.38
    found[[5, 6]] = 0.9
    return found


def clean(count=COUNT):
    """Rows are not places: they count from the end."""
    images = np.full((count, 3, 4, 4), DARK, np.float32)
    return {"images": images, "labels": np.zeros(count, np.int64), "rows": np.arange(count)[::-1].copy()}


def cascade_on(target, images=None, **more):
    options = {"ball": RAW, "statistics": (MEAN, STD), "seed": 5, "batch": 7, "context": {}} | more
    return Cascade(target, clean() if images is None else images, **options)


def brightened(by):
    return np.full((COUNT, 3, 4, 4), DARK, np.float32) * np.float32(1 + by)


# Names and shares of the budget, and rows that have them, of images that were made before.
STORED = {0.01: ("early", 1.0, 4), 0.02: ("gray_box/pgd", 0.9, 2), 0.07: ("adaptive-knn/square", 1.0, 2)}


def stored(above, limit):
    for epsilon, (name, share, every) in STORED.items():
        if above < epsilon <= limit:
            images = brightened(epsilon * share)
            images[clean()["rows"] % every != 0] = DARK
            yield name, images


def walk(row, doubled="half", sanity=0.3):
    """How one image fares alone.

    Returns by whom it is broken and how bright it is within each budget, the attacks that it sees, and how often the
    defence is asked about it.
    """
    limit, best, before = limits()[row], DARK, 0.0
    by, asked, attacked, found = "clean" if limit < DARK else "", 1, [], []
    again = Brighten(steps=2 * ATTACKS[doubled].steps, every=ATTACKS[doubled].every)

    def reached(attack, epsilon):
        return DARK * (1 + epsilon * min(attack.steps / 10, 1) * (row % attack.every == 0))

    for epsilon in EPSILONS:
        tries = [
            (name, None, DARK * (1 + budget * share * (row % every == 0)))
            for budget, (name, share, every) in STORED.items()
            if before < budget <= epsilon
        ]
        tries += [(name, one, reached(one, epsilon)) for name, one in [*ATTACKS.items(), ("doubled", again)]]
        for name, attack, grey in tries:
            if not by:
                asked, best = asked + 1, max(best, grey)
                attacked += [] if attack is None else [attack]
                by = name if grey > limit else ""
        found.append((by, best))
        before = epsilon
    if not by:
        asked, attacked = asked + 1, [*attacked, ATTACKS[doubled]]
    return found, attacked, asked


def run_all(target, images=None, attacks=ATTACKS, epsilons=EPSILONS, doubled="half", sanity=0.3, kept=None, **more):
    return worst_case(
        cascade_on(target, images, **more),
        attacks,
        epsilons=epsilons,
        stored=kept or (lambda above, limit: []),
        doubled=doubled,
        sanity=sanity,
    )


@pytest.mark.parametrize("doubled", ["half", "less", "thirds"])
@pytest.mark.parametrize("order", [EPSILONS, EPSILONS[::-1]], ids=["ascending", "descending"])
def test_every_image_fares_as_if_it_were_alone(doubled, order):
    target = Limits(limits())
    arrays, _ = run_all(target, epsilons=order, doubled=doubled, kept=stored)
    rows = clean()["rows"]
    walks = [walk(row, doubled)[0] for row in rows]
    credited = set()
    for number, epsilon in enumerate(EPSILONS):
        by, best = zip(*(one[number] for one in walks), strict=True)
        assert arrays[f"{epsilon:g}/broken_by"].tolist() == list(by)
        images = arrays[f"{epsilon:g}/images"]
        assert images.dtype == np.float32
        np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), best, rtol=1e-5)
        np.testing.assert_allclose(arrays[f"{epsilon:g}/lead"], 2 * (np.array(best) - limits()[rows]), atol=1e-4)
        np.testing.assert_allclose(arrays[f"{epsilon:g}/delta_raw01"], np.array(best) / DARK - 1, atol=1e-5)
        np.testing.assert_allclose(arrays[f"{epsilon:g}/delta_linf"], np.array(best) - DARK, atol=1e-5)
        credited |= set(by)
    assert credited >= {"", "clean", "early", "gray_box/pgd", "adaptive-knn/square", "thirds", "half"}
    assert ("doubled" in credited) == (doubled == "half")
    np.testing.assert_array_equal(arrays["labels"], clean()["labels"])
    np.testing.assert_array_equal(arrays["rows"], rows)


def test_only_images_that_hold_are_attacked_and_asked_about():
    target = Limits(limits())
    run_all(target, kept=stored)
    spared = 0
    for row in range(COUNT):
        _, attacked, asked = walk(row)
        seen = [(steps, every) for steps, every, rows, _ in Brighten.runs if row in rows]
        assert seen == [(one.steps, one.every) for one in attacked]
        assert target.asked.count(row) == asked
        spared += not seen
    assert spared > 3


def test_the_doubled_attack_has_twice_the_steps_and_draws_of_its_own():
    run_all(Limits(limits()))
    seeds = {}
    for steps, every, _, seed in Brighten.runs:
        seeds.setdefault((steps, every), set()).add(seed)
    assert set(seeds) == {(10, 3), (5, 1), (2, 1), (10, 1)}
    assert all(len(one) == 1 for one in seeds.values())
    assert len(set.union(*seeds.values())) == 4
    Brighten.runs.clear()
    run_all(Limits(limits()), seed=6)
    assert not {seed for *_, seed in Brighten.runs} & set.union(*seeds.values())


def test_the_numbers_of_the_report_add_up():
    target = Limits(limits())
    arrays, report = run_all(target, kept=stored)
    assert json.loads(json.dumps(report)) == report
    assert report["images"] == COUNT
    left = None
    for number, epsilon in enumerate(EPSILONS):
        stages = [one for one in report["stages"] if one["epsilon"] == epsilon]
        assert [one["attack"] for one in stages] == ["thirds", "half", "less", "doubled"]
        by = arrays[f"{epsilon:g}/broken_by"]
        before = [""] * COUNT if number == 0 else arrays[f"{EPSILONS[number - 1]:g}/broken_by"]
        fresh = [name for name, one in zip(by, before, strict=True) if one == ""]
        prior = sum(name not in ("", *ATTACKS, "doubled") for name in fresh)
        left = COUNT if left is None else left
        assert stages[0]["tried"] == left - prior
        for one, following in zip(stages, [*stages[1:], None], strict=True):
            assert one["broke"] == fresh.count(one["attack"])
            assert following is None or following["tried"] == one["tried"] - one["broke"]
        left = stages[-1]["tried"] - stages[-1]["broke"]
        share = report["shares"][number]
        assert share["epsilon"] == epsilon
        assert share["settled"] == stages[-1]["tried"] / COUNT
        assert share["holds"] == left / COUNT == (by == "").mean()
        # "thirds" moves no other row: they had no gradient.
        assert stages[0]["stuck"] > 0
        assert [one["stuck"] for one in stages[1:]] == [0, 0, 0]
    assert len(report["stages"]) == 12
    # Two limits are out of reach of half the budget 0.3, and one of the images is stored.
    assert report["sanity"] == {"epsilon": 0.3, "share": 2 / COUNT}
    assert report["shares"][-1]["holds"] > 2 / COUNT


def test_the_last_attack_leaves_no_trace_in_the_images():
    first, second = (run_all(Limits(limits()), sanity=sanity) for sanity in (0.3, 0.0001))
    assert same(first[0], second[0])
    assert first[1]["sanity"]["share"] < second[1]["sanity"]["share"] == second[1]["shares"][-1]["holds"]


def test_stored_images_are_asked_for_by_ranges_that_meet():
    asked = []

    def remember(above, limit):
        asked.append((above, limit))
        return []

    run_all(Limits(limits()), epsilons=(0.1, 0.02, 0.05), kept=remember)
    assert asked == [(0.0, 0.02), (0.02, 0.05), (0.05, 0.1)]


def test_who_broke_an_image_is_told_by_its_whole_name():
    name = "adaptive-image_quilting-ImageNet-50000-overlap-0.25/feature_matching"
    arrays, _ = run_all(Limits(limits()), kept=lambda above, limit: [(name, brightened(limit))])
    found = set(arrays["0.02/broken_by"].tolist())
    # Objects could not be stored without pickling.
    assert arrays["0.02/broken_by"].dtype.kind == "U"
    assert name in found
    assert found <= {"", "clean", name}


def test_where_nothing_holds_nothing_is_attacked():
    arrays, report = run_all(Limits(np.full(COUNT, 0.1)), kept=stored)
    assert not Brighten.runs
    assert (arrays["0.1/broken_by"] == "clean").all()
    np.testing.assert_array_equal(arrays["0.1/images"], clean()["images"])
    assert not arrays["0.1/delta_raw01"].any()
    assert report["stages"] == []
    assert [one["holds"] for one in report["shares"]] == [0, 0, 0]
    assert report["sanity"]["share"] == 0


def test_a_random_defence_is_broken_in_each_of_some_draws():
    target = Limits(limits(), random=True)
    arrays, _ = run_all(target)
    seeds = set(target.seeds)
    # The cascade's own draws, and those of four attacks would be other ones; its seed is that of nobody.
    assert 5 not in seeds
    worst = max(0.01 * (seed % 7) / 7 for seed in seeds)
    assert len(seeds) == DRAWS
    assert worst > 0
    for epsilon in EPSILONS:
        over = arrays[f"{epsilon:g}/images"].mean(axis=(1, 2, 3)) - limits()[clean()["rows"]]
        np.testing.assert_array_equal(arrays[f"{epsilon:g}/broken_by"] != "", over > worst)
        assert 0 < (over > worst).sum() < (over > 0).sum()


@pytest.mark.parametrize("name", ["absent", "noise"])
def test_only_an_attack_that_has_steps_can_be_doubled(name):
    attacks = {"noise": make_attack("noise"), "soft_retrieval": make_attack("soft_retrieval")}
    with pytest.raises(ConfigError, match=rf"doubled attack '{name}' is unknown .* allowed: soft_retrieval$"):
        run_all(Limits(limits()), attacks=attacks, doubled=name)
    with pytest.raises(ConfigError, match=r"allowed: none$"):
        run_all(Limits(limits()), attacks={"noise": make_attack("noise")}, doubled=name)


# -- a trained network


# Within which a part of the images holds.
BUDGETS = {RAW: (0.07, 0.09, 0.11), STANDARDIZED: (0.2, 0.25, 0.3)}


def trained():
    net, images, labels = trained_net()
    return freeze(net), {"images": images.numpy(), "labels": labels.numpy(), "rows": np.arange(len(labels)) + 100}


def real_attacks():
    return {
        "noise": make_attack("noise"),
        "transfer": make_attack("transfer", steps=10),
        "soft_retrieval": make_attack("soft_retrieval", steps=10),
        "guide_samples": make_attack("guide_samples", steps=10),
        "square": make_attack("square", queries=20),
    }


def run_trained(**more):
    net, images = trained()
    context = {"surrogates": [Curved(12, 1).eval(), Curved(12, 2).eval()]}
    options = {
        "attacks": real_attacks(),
        "doubled": "soft_retrieval",
        "epsilons": BUDGETS[RAW],
        "context": context,
        "batch": 24,
    }
    return run_all(NoDefense().bind(net), images, **(options | more))


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@both_l2_balls
def test_a_broken_image_stays_as_it_is_and_within_its_budget(ball):
    net, clean_images = trained()
    arrays, report = run_trained(ball=ball, epsilons=BUDGETS[ball])
    labels, before, shares = clean_images["labels"], None, []
    for epsilon in BUDGETS[ball]:
        by, images = arrays[f"{epsilon:g}/broken_by"], arrays[f"{epsilon:g}/images"]
        delta = arrays[f"{epsilon:g}/delta_{ball}"]
        with torch.no_grad():
            logits = net(torch.from_numpy(images))
        right = logits.argmax(dim=1).numpy() == labels
        np.testing.assert_array_equal(by == "", right)
        shown = logits.softmax(dim=1).numpy()
        own = shown[np.arange(24), labels].copy()
        shown[np.arange(24), labels] = -1
        np.testing.assert_allclose(arrays[f"{epsilon:g}/lead"], shown.max(axis=1) - own, atol=1e-5)
        assert (delta <= epsilon * (1 + 1e-5)).all()
        assert set(by) <= {"", "clean", "doubled", *real_attacks()}
        for name in BALLS:
            assert arrays[f"{epsilon:g}/delta_{name}"].shape == (24,)
        if before is not None:
            held = before[0] != ""
            np.testing.assert_array_equal(by[held], before[0][held])
            np.testing.assert_array_equal(images[held], before[1][held])
            assert (arrays[f"{epsilon:g}/lead"] >= before[2]).all()
        before = by, images, arrays[f"{epsilon:g}/lead"]
        shares.append(right.mean())
    assert shares[0] > shares[1] > shares[2]
    assert [one["holds"] for one in report["shares"]] == shares


def test_twice_the_same_and_batches_do_not_matter():
    whole, report = run_trained()
    again, repeated = run_trained()
    assert same(whole, again)
    assert report == repeated
    parts, in_parts = run_trained(batch=5)
    assert [one["holds"] for one in in_parts["shares"]] == [one["holds"] for one in report["shares"]]
    np.testing.assert_allclose(parts["0.09/images"], whole["0.09/images"], atol=1e-3)


def test_the_worst_case_is_no_weaker_than_an_attack_alone():
    net, images = trained()
    pixels, labels, rows = (torch.from_numpy(images[name]) for name in ("images", "labels", "rows"))
    attack, more = real_attacks()["soft_retrieval"], {"ball": RAW, "statistics": (MEAN, STD), "seed": 5}
    found = attack.run(NoDefense().bind(net), pixels, labels, epsilon=0.09, rows=rows, **more)
    alone = (net(found.images).argmax(dim=1) == labels).numpy()
    assert 0 < alone.sum() < 24
    assert not ((run_trained()[0]["0.09/broken_by"] == "") & ~alone).any()


def test_every_batch_is_told():
    seen = []
    _, report = run_trained(batch=5, on_batch=lambda result: seen.append(len(result.images)))
    assert max(seen) == 5
    left = round(24 * report["shares"][-1]["holds"])
    assert sum(seen) == sum(one["tried"] for one in report["stages"]) + left
