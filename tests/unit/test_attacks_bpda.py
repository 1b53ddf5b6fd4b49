"""Attacks through purifiers: what they look up anew at every step, and what they find that others miss."""

import pytest
import torch
from torch import nn

from nndefense.attacks.bpda import StraightThrough, Unrolled
from nndefense.defenses.low_pass import LowPass
from nndefense.defenses.none import NoDefense
from nndefense.defenses.semantic_dictionaries import SemanticDictionaries
from tests.unit.attack_cases import SPACES, Curved, both_l2_balls, draw_images, make_attack, run
from tests.unit.srd_cases import srd_context, tinted

SIZE, COUNT = 12, 24
NAMES = ("bpda", "unrolled")
LABELS = torch.zeros(COUNT, dtype=torch.int64)


class Halves(nn.Module):
    """Two classes, by which half of an image is brighter, and by a checkerboard, which no purifier leaves.

    Args:
        threshold: amplitude of the checkerboard from which it counts; None: it always counts.
    """

    def __init__(self, threshold=None):
        super().__init__()
        self.threshold, side = threshold, torch.arange(SIZE)
        self.register_buffer("board", ((side[:, None] + side) % 2 * 2 - 1).float())
        self.register_buffer("halves", (side < SIZE // 2).float() * 2 - 1)

    def forward(self, images):
        brighter, board = ((images * pattern).mean(dim=(1, 2, 3)) for pattern in (self.halves, self.board))
        counted = board if self.threshold is None else torch.relu(board - self.threshold)
        score = 40 * (brighter + 5 * counted)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def darker(model, board=0.0):
    """Pictures of class 0, whose one half is a little darker, under a checkerboard of an amplitude."""
    found = tinted(COUNT, SIZE, SIZE)
    amounts = [(found * one).mean(dim=(1, 2, 3), keepdim=True) for one in (model.halves, model.board)]
    steps = torch.linspace(0.004, 0.02, COUNT)[:, None, None, None]
    return found - (amounts[0] + steps) * model.halves + (board - amounts[1]) * model.board


def srd(model, **options):
    return SemanticDictionaries(**{"sparsity": 0.3, **options}).bind(model, srd_context())


def right(bound, images):
    return int((bound.probabilities(images, rows=torch.arange(COUNT), seed=0).argmax(dim=1) == LABELS).sum())


def left(model, images):
    """How many of the images hold behind dictionaries: clean; attacked through the network, straight, unrolled."""
    bound, attacks = srd(model), [make_attack("pgd", direction="l2", steps=20)]
    attacks += [make_attack(name, steps=20) for name in NAMES]
    found = [
        run(one, target, images, LABELS, epsilon=0.04, measure_loss=False).images
        for one, target in zip(attacks, (model, bound, bound), strict=True)
    ]
    assert right(NoDefense().bind(model), found[0]) == 0
    return [right(bound, one) for one in (images, *found)]


# -- stronger than what went before


def test_attacks_through_a_purifier_leave_less_than_those_that_do_not_know_of_it():
    """The network follows the checkerboard first, of which nothing comes through."""
    model = Halves(threshold=0.01).eval()
    clean, transfer, straight, unrolled = left(model, darker(model, 0.0105))
    assert clean == COUNT
    assert transfer > 15
    assert straight < 5
    assert unrolled < 5


def test_only_unrolled_steps_know_what_a_purifier_takes_away():
    """Where the network always follows the checkerboard, it does so for purified images, too."""
    model = Halves().eval()
    clean, transfer, straight, unrolled = left(model, darker(model))
    assert clean == COUNT
    assert abs(straight - transfer) <= 1
    assert transfer > 14
    assert unrolled < 5


@pytest.mark.parametrize("name", NAMES)
@both_l2_balls
def test_images_stay_within_the_ball(name, ball):
    images, model = tinted(6, SIZE, SIZE), Curved(SIZE).eval()
    images[0] = (images[0] > images[0].mean()).float()
    bound = srd(model, sparsity=0.05)
    labels = bound.probabilities(images, rows=torch.arange(6), seed=0).argmax(dim=1)
    found = run(make_attack(name, steps=6, restarts=2), bound, images, labels, epsilon=0.05, ball=ball).images
    assert 0 <= found.min() < found.max() <= 1
    delta = SPACES[ball].delta(images, found)
    assert (delta <= 0.05 * 1.00001).all()
    assert delta.max() > 0.02


# -- what is looked up, and asked


class Counted:
    """A bound defence that counts how often it is differentiated, and chooses dictionaries."""

    random = False

    def __init__(self, bound, log=None):
        self.bound, self.model, self.log = bound, bound.model, {"steps": 0, "looked": 0} if log is None else log

    def unrolled(self):
        return Counted(self.bound.unrolled(), self.log)

    def probabilities(self, images, *, rows, seed):
        return torch.tensor([[0.9, 0.05, 0.05]]).expand(len(images), -1)

    def surrogate(self, images, *, rows, seed, draws=1, memo=None):
        self.log["steps"] += 1
        self.log["looked"] += "shift" not in memo
        self.log["unrolled"] = bool(self.bound.context.get("unroll"))
        return self.bound.surrogate(images, rows=rows, seed=seed, draws=draws, memo=memo)


def test_what_is_looked_up_is_looked_up_anew_at_every_step():
    assert StraightThrough().refresh == Unrolled().refresh == 1
    for name, options, looked in (
        ("bpda", {}, 8),
        ("bpda", {"refresh": 4}, 2),
        ("bpda", {"refresh": 3}, 3),
        ("unrolled", {}, 8),
        ("unrolled", {"refresh": 4}, 8),
    ):
        target = Counted(srd(Curved(SIZE).eval()))
        labels = torch.zeros(3, dtype=torch.int64)
        attack = make_attack(name, steps=8, **options)
        run(attack, target, tinted(3, SIZE, SIZE), labels, epsilon=0.01, measure_loss=False)
        assert target.log == {"steps": 8, "looked": looked, "unrolled": name == "unrolled"}


@pytest.mark.parametrize("make", [NoDefense, lambda: LowPass(weight=0.7)], ids=["none", "low_pass"])
def test_without_steps_to_unroll_both_are_the_same(make):
    images, labels = draw_images(6, SIZE)
    bound = make().bind(Curved(SIZE).eval())
    one, other = (run(make_attack(name, steps=5), bound, images, labels, measure_loss=False).images for name in NAMES)
    assert torch.equal(one, other)
    assert (one - images).abs().max() > 0.01


def test_a_bare_network_is_attacked_as_it_is():
    images, labels = draw_images(6, SIZE)
    model = Curved(SIZE).eval()
    for name in NAMES:
        found = [
            run(make_attack(name, steps=5), one, images, labels, measure_loss=False).images
            for one in (model, NoDefense().bind(model))
        ]
        assert torch.equal(*found)
