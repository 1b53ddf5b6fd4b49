"""Climbs on networks that are made once, for all defences."""

import pytest
import torch

from nndefense.attacks.problem import make_problem
from nndefense.attacks.region import region_of
from nndefense.attacks.transfer import Climbs

from .adaptive_cases import Fake, Surrogate, always, grey, run, slope
from .attack_cases import RAW, make_attack

EPSILON, SEED = 0.1, 3
OPTIONS = {"steps": 6, "restarts": 2}


def networks() -> list[Surrogate]:
    return [Surrogate(seed, 2, 6) for seed in (3, 4)]


def climbs(images, labels, epsilon=EPSILON, **options) -> Climbs:
    """Those of an attack, made of all images at once."""
    attack = make_attack("transfer", **OPTIONS | options)
    problem = make_problem(
        networks()[0],
        images,
        labels,
        region=region_of(RAW, None, images, epsilon),
        rows=torch.arange(len(images)),
        seed=SEED,
        context={"surrogates": networks()},
    )
    ends, moved = attack.ends(problem)
    return Climbs(attack, problem.rows, [(problem.region.radius, torch.stack(ends), moved)])


def attacked(images, labels, rows, made, **options):
    fake, asked = Fake(slope(torch.ones(3, 6, 6)), lead_of_first), networks()
    context = {"surrogates": asked} | ({"climbs": made} if made else {})
    attack = make_attack("transfer", **OPTIONS | options)
    found = run(attack, fake, images, labels, rows=rows, epsilon=EPSILON, seed=SEED, context=context)
    return found, fake, sum(len(one.seen) for one in asked)


def lead_of_first(images, rows, seed):
    """Two classes; some images break on some climbs."""
    score = 0.5 + 0.2 * (images - 0.5).mean(dim=(1, 2, 3)) + 0.3 * (rows.float() % 3 - 1) * images[:, 0, 0, 0]
    return torch.stack([score, 1 - score], dim=1)


def test_climbs_that_were_made_before_give_the_same_images_and_ask_no_network():
    images, labels = grey(9)
    labels = lead_of_first(images, torch.arange(9), 0).argmax(dim=1)
    made = climbs(images, labels)
    rows = torch.tensor([7, 0, 3, 8, 1])
    alone, first, steps = attacked(images[rows], labels[rows], rows, None)
    stored, second, none = attacked(images[rows], labels[rows], rows, made)
    assert steps > 0
    assert none == 0
    torch.testing.assert_close(stored.images, alone.images, rtol=0, atol=1e-6)
    assert torch.equal(stored.saturated, alone.saturated)
    assert [len(first.of(row)) for row in range(9)] == [len(second.of(row)) for row in range(9)]
    # From the image and from one random start: each network, and both together, unless it breaks before.
    asked = [len(second.of(row)) for row in rows.tolist()]
    assert max(asked) == 1 + 2 * 3
    assert min(asked) < max(asked)


@pytest.mark.parametrize(
    ("made", "options"),
    [
        ({}, {"steps": 12}),
        ({"restarts": 1}, {}),
        ({"epsilon": 0.2}, {}),
    ],
    ids=["twice the steps", "another attack's", "another budget"],
)
def test_other_climbs_are_not_taken_for_them(made, options):
    images, labels = grey(3)
    _, _, steps = attacked(images, labels, torch.arange(3), climbs(images, labels, **made), **options)
    assert steps > 0


def test_climbs_of_other_images_are_not_taken_for_them():
    images, labels = grey(3)
    _, _, steps = attacked(images, labels, torch.tensor([0, 1, 5]), climbs(images, labels))
    assert steps > 0


def test_a_network_without_a_gradient_is_told():
    images, labels = grey(2)
    made = climbs(images, labels)
    still = Climbs(made.attack, made.rows, [(*made.budgets[0][:2], torch.tensor([True, False]))])
    fake = Fake(None, always(0.9, 0.1))
    context = {"surrogates": networks(), "climbs": still}
    more = {"epsilon": EPSILON, "seed": SEED, "context": context, "measure_loss": False}
    found = run(made.attack, fake, images, labels, **more)
    assert found.saturated.tolist() == [False, True]
