"""Square against torchattacks, and on defences that count, that hold, and that have no gradient."""

from collections import Counter

import pytest
import torch
from torch import nn

from nndefense.attacks import square
from nndefense.attacks.adaptive import lead_of
from nndefense.attacks.square import Square
from nndefense.axes.ball import LINF, RAW
from nndefense.core.errors import ConfigError
from tests.unit.attack_cases import CLASSES, SPACES, Curved, both_l2_balls, draw_images, run

SIZE = 20


class Asked:
    """A defence that remembers what it is asked; `answer` gives probabilities (B, C) for images and the question."""

    def __init__(self, answer, random=False):
        self.answer, self.random = answer, random
        self.model, self.seen, self.images = nn.Identity().eval(), Counter(), []

    def surrogate(self, images, **_):
        return images.sum(dim=(1, 2, 3))[:, None] * torch.zeros(CLASSES)

    def probabilities(self, images, *, rows, seed):
        self.seen.update(rows.tolist())
        self.images.append(images.clone())
        return self.answer(images, len(self.images))


def constant(images, question):
    """Class 0, whatever the image."""
    return torch.tensor([0.6, 0.3, 0.1]).expand(len(images), -1)


def falling(images, question):
    """Class 0, the more certainly the more it was asked."""
    share = 1 - 0.5 / (1 + question)
    return torch.tensor([share, 1 - share, 0.0]).expand(len(images), -1)


def votes(images, question):
    """Of nine linear classifiers, each of whose answers is a class and no more."""
    weights = torch.randn(9, CLASSES, images[0].numel(), generator=torch.Generator().manual_seed(0))
    scores = (weights[None] * (images - 0.5).contiguous().flatten(1)[:, None, None]).sum(dim=3)
    return nn.functional.one_hot(scores.argmax(dim=2), CLASSES).float().mean(dim=1)


def grey(batch=3, size=SIZE):
    return draw_images(batch, size, low=0.4, high=0.6)[0], torch.zeros(batch, dtype=torch.int64)


@pytest.fixture(scope="module")
def curved():
    """A network and 48 images that it is right about; many of their pixels are black or white."""
    model = Curved(SIZE).eval()
    images = (2 * draw_images(48, SIZE, seed=7)[0] - 0.5).clamp(0, 1)
    return model, images, model(images).argmax(dim=1)


def accuracy(model, images, labels):
    return (model(images).argmax(dim=1) == labels).float().mean().item()


@both_l2_balls
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 4), (5, 5), (12, 7), (9, 24)])
def test_budget_and_box_for_images_of_any_shape(ball, shape):
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    images[0, :, :1] = 1
    defense = Asked(constant)
    run(Square(queries=40), defense, images, torch.zeros(2, dtype=torch.int64), ball=ball, epsilon=0.3)
    assert len(defense.images) == 40
    for seen in defense.images:
        assert (SPACES[ball].delta(images, seen) <= 0.3 * (1 + 1e-5)).all()
        assert seen.min() >= 0
        assert seen.max() <= 1


@both_l2_balls
def test_twice_the_same_and_no_image_depends_on_the_batch(ball, curved):
    model, images, labels = curved
    attack, more = Square(queries=60, restarts=2), {"ball": ball, "epsilon": 0.1}
    whole = run(attack, model, images, labels, **more)
    assert torch.equal(run(attack, model, images, labels, **more).images, whole.images)
    for rows in (torch.tensor([40]), torch.arange(0, 48, 5), torch.arange(30).flip(0)):
        part = run(attack, model, images[rows], labels[rows], rows=rows, **more)
        assert torch.equal(part.images, whole.images[rows])
    assert not torch.equal(run(attack, model, images, labels, seed=4, **more).images, whole.images)
    twins = run(attack, model, images[[0, 0]], labels[[0, 0]], **more).images
    assert not torch.equal(twins[0], twins[1])


@both_l2_balls
@pytest.mark.parametrize("queries", [1, 2, 3, 40])
def test_never_worse_than_the_image_itself(ball, queries, curved):
    model, images, labels = curved
    result = run(Square(queries=queries), model, images, labels, ball=ball, epsilon=0.02)
    leads = [lead_of(model(points).softmax(dim=1), labels) for points in (images, result.images)]
    assert (leads[1] >= leads[0]).all()
    if queries == 1:
        assert torch.equal(result.images, images)


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("queries", [1, 2, 17])
def test_no_more_queries_than_allowed(queries, restarts):
    images, labels = grey()
    defense = Asked(constant)
    run(Square(queries=queries, restarts=restarts), defense, images, labels)
    assert defense.seen == dict.fromkeys(range(3), queries * restarts)
    defense = Asked(constant, random=True)
    run(Square(queries=queries, restarts=restarts, chosen=3), defense, images, labels)
    # Right in the first draw, an image is not asked about in others.
    assert defense.seen == dict.fromkeys(range(3), queries * restarts)


def test_a_broken_image_is_not_asked_about_again():
    images, labels = grey()

    def answer(points, question):
        shares = constant(points, question).clone()
        if question == 5:
            shares[1] = torch.tensor([0.2, 0.7, 0.1])
        return shares

    defense = Asked(answer)
    result = run(Square(queries=17), defense, images, labels)
    assert defense.seen == {0: 17, 1: 5, 2: 17}
    assert torch.equal(result.images[1], defense.images[4][1])
    assert torch.equal(result.images[0], images[0])


def changed(one, other):
    """Share of the pixels that differ, (B,); not by rounding."""
    return ((one - other).abs() > 1e-5).any(dim=1).float().mean(dim=(1, 2))


def test_equal_leads_are_steps_and_smaller_ones_are_not():
    images, labels = grey()
    defense = Asked(constant)
    run(Square(queries=60), defense, images, labels)
    # Two windows of 3 x 3 pixels each, at the end.
    assert (changed(defense.images[-2], defense.images[-1]) <= 18 / SIZE**2).all()
    assert (changed(defense.images[1], defense.images[-1]) > 0.2).all()
    defense = Asked(falling)
    run(Square(queries=60), defense, images, labels)
    for seen in defense.images[-20:]:
        assert (changed(defense.images[1], seen) <= 18 / SIZE**2).all()


def test_every_candidate_spends_the_budget_where_no_pixel_stops_it():
    images, labels = grey()
    defense = Asked(constant)
    run(Square(queries=60), defense, images, labels, epsilon=0.05)
    for seen in defense.images[1:]:
        delta = SPACES[RAW].delta(images, seen)
        torch.testing.assert_close(delta, torch.full_like(delta, 0.05), rtol=1e-5, atol=0)


def test_it_breaks_what_has_no_gradient():
    images = draw_images(24, 6, seed=3)[0]
    labels = votes(images, 0).argmax(dim=1)
    result = run(Square(queries=200), Asked(votes), images, labels, epsilon=0.15)
    left = votes(result.images, 0).argmax(dim=1) == labels
    assert left.float().mean() < 0.4
    assert not result.saturated.any()


def test_restarts_break_no_fewer(curved):
    model, images, labels = curved
    one, three = (run(Square(queries=30, restarts=n), model, images, labels) for n in (1, 3))
    broken = model(one.images).argmax(dim=1) != labels
    assert torch.equal(three.images[broken], one.images[broken])
    assert accuracy(model, three.images, labels) < accuracy(model, one.images, labels)


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_as_strong_as_torchattacks(epsilon, curved):
    torchattacks = pytest.importorskip("torchattacks")
    model, images, labels = curved
    result = run(Square(queries=100), model, images, labels, epsilon=epsilon)
    found = []
    with torch.random.fork_rng():
        # Its radius is one number a call: one image at a time. It does not count the first two images that it asks.
        for place, image in enumerate(images):
            attack = torchattacks.Square(model, "L2", epsilon * image.norm().item(), n_queries=98, seed=place)
            found.append(attack(image[None], labels[place : place + 1]))
    ours, theirs = accuracy(model, result.images, labels), accuracy(model, torch.cat(found), labels)
    assert theirs < 0.9
    # Three standard deviations of the difference of two such shares are 0.3 if unpaired; each image has its own
    # margin, so that they differ by less.
    assert ours <= theirs + 0.1


def test_bumps_and_schedule_are_those_of_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    theirs = torchattacks.Square(Curved(), "L2", n_queries=500)
    theirs.device = torch.device("cpu")
    with torch.random.fork_rng():
        for side in (1, 2, 3, 6, 7, 29):
            bump = theirs.eta(side)
            ours = square._bumps(side, torch.device("cpu"))
            assert min((one - bump).abs().max() for one in ours) < 1e-6
    for query in range(500):
        assert theirs.p_selection(query) == 0.8 / 2 ** square._halvings(query / 500)


@pytest.mark.parametrize(("share", "side"), [(0.8, 29), (0.4, 21), (0.1, 11), (0.8 / 512, 3), (1.0, 31)])
def test_windows_are_odd_and_fit(share, side):
    assert square._side(share, 32, 32) == side


@pytest.mark.parametrize(("option", "value"), [("queries", 0), ("share", 0.0), ("share", 1.5), ("restarts", 0)])
def test_bad_options_are_named(option, value):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}"):
        Square(**{option: value})


def test_it_has_no_form_in_the_cube():
    images, labels = grey()
    with pytest.raises(ConfigError, match="has no form in ball linf"):
        run(Square(), Curved(SIZE).eval(), images, labels, ball=LINF)
