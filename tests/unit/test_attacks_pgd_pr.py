"""PGD-PR: each form of the neighbours' term against its definition, neighbour by neighbour."""

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks.batches import attack_in_batches
from nndefense.attacks.pgd import PGD
from nndefense.attacks.pgd_pr import PGDPR
from nndefense.core.errors import InputError
from tests.unit.attack_cases import (
    NEIGHBORS,
    RAW,
    SPACES,
    Curved,
    Linear,
    both_l2_balls,
    draw_images,
    make_context,
    make_problem,
    neighbors_of_trained,
    run,
    trained_net,
)

forms = pytest.mark.parametrize("form", ["soft", "hard", "literal"])


def gradient(loss, point):
    return torch.autograd.grad(loss, point)[0]


def by_definition(form, model, image, label, context, place, gamma):
    """Gradient of CE(h(x), y) by x plus gamma times the neighbours' term, one image, in double precision."""
    model, point = model.double(), image.double()[None].requires_grad_()
    label = label[None]
    total = gradient(nn.functional.cross_entropy(model(point), label), point)
    for k in range(NEIGHBORS):
        if form == "literal":
            neighbor = context["neighbor_images"][place, k].double()[None].requires_grad_()
            total = total + gamma * gradient(nn.functional.cross_entropy(model(neighbor), label), neighbor)
        else:
            target = context["neighbor_softmax"][place, k].double()[None]
            target = target.argmax(1) if form == "hard" else target
            total = total + gamma * gradient(nn.functional.cross_entropy(model(point), target), point)
    return total[0]


@forms
@both_l2_balls
@pytest.mark.parametrize("gamma", [0.05, 3.0])
def test_gradient_is_that_of_the_definition(form, ball, gamma):
    images, labels = draw_images()
    context = make_context(images)
    attack = PGDPR(form=form, gamma=gamma)
    problem = attack.prepare(make_problem(Curved().eval(), images, labels, ball=ball, context=context))
    found = attack.gradient(problem, problem.region.center)
    for place, image in enumerate(images):
        wanted = by_definition(form, Curved(), image, labels[place], context, place, gamma)
        wanted = (wanted * SPACES[ball].scale(wanted[None])[0]).float()
        torch.testing.assert_close(found[place], wanted, rtol=1e-4, atol=1e-5)


@forms
@both_l2_balls
@pytest.mark.parametrize("options", [{}, {"restarts": 3}, {"direction": "l2", "random_start": False}])
def test_without_gamma_it_is_pgd_bit_for_bit(form, ball, options):
    net, images, labels = trained_net()
    context = neighbors_of_trained()
    ours = run(PGDPR(form=form, gamma=0, **options), net, images, labels, ball=ball, context=context)
    pgd = run(PGD(**options), net, images, labels, ball=ball)
    for name in ("images", "loss_before", "loss_after", "delta", "saturated"):
        assert torch.equal(getattr(ours, name), getattr(pgd, name)), name


def test_without_gamma_no_context_is_needed():
    images, labels = draw_images()
    run(PGDPR(gamma=0), Curved().eval(), images, labels)


def test_literal_term_does_not_depend_on_the_iterate():
    images, labels = draw_images()
    attack = PGDPR(form="literal", gamma=1.0)
    problem = attack.prepare(make_problem(Curved().eval(), images, labels, context=make_context(images)))
    terms = []
    for seed in range(3):
        z = draw_images(seed=seed + 10)[0]
        terms.append(attack.gradient(problem, z) - PGD().gradient(problem, z))
    for term in terms[1:]:
        torch.testing.assert_close(term, terms[0], rtol=0, atol=1e-6)
    assert terms[0].abs().max() > 1e-3


@pytest.mark.parametrize(("form", "extra"), [("soft", 0), ("hard", 0), ("literal", NEIGHBORS)])
def test_literal_term_is_computed_once_a_run_and_the_others_cost_no_pass(form, extra):
    images, _ = draw_images()
    labels = torch.zeros(4, dtype=torch.int64)
    context = make_context(images, classes=2)
    model = Linear().eval()
    run(PGDPR(form=form, steps=7), model, images, labels, context=context)
    assert model.images_seen == (2 + 7 + extra) * len(images)
    model.images_seen = 0
    run(PGDPR(form=form, steps=7, restarts=3), model, images, labels, context=context)
    # With restarts both the loss and the attack's own objective are measured after each.
    assert model.images_seen == (1 + 3 * (7 + 2) + extra) * len(images)


def test_budgets_of_a_pack_share_the_literal_term_and_are_what_they_are_alone():
    images, _ = draw_images()
    clean = {"images": images.numpy(), "labels": np.zeros(4, dtype=np.int64), "rows": np.arange(4)}
    context, model = make_context(images, classes=2), Linear().eval()
    model.weight = nn.Parameter(torch.zeros(1))

    def pack(*epsilons):
        return attack_in_batches(
            PGDPR(form="literal", steps=7),
            model,
            clean,
            epsilons=epsilons,
            ball=RAW,
            statistics=None,
            seed=1,
            batch=2,
            context=lambda rows: {"neighbor_images": context["neighbor_images"][rows]},
            on_batch=lambda result: None,
        )

    together = pack(0.05, 0.1, 0.2)
    # The clean images' losses, too, are asked for once.
    assert model.images_seen == (1 + 3 * (1 + 7) + NEIGHBORS) * len(images)
    for epsilon in (0.05, 0.1, 0.2):
        for name, values in pack(epsilon).items():
            np.testing.assert_array_equal(together[name], values)


def test_one_hot_neighbours_make_soft_and_hard_the_same():
    net, images, labels = trained_net()
    sure = nn.functional.one_hot(neighbors_of_trained()["neighbor_softmax"].argmax(2), 3).float()
    soft, hard = (
        run(PGDPR(form=form), net, images, labels, context={"neighbor_softmax": sure}) for form in ("soft", "hard")
    )
    assert torch.equal(soft.images, hard.images)


def test_half_precision_rows_are_accepted():
    net, images, labels = trained_net()
    context = neighbors_of_trained()
    single = run(PGDPR(), net, images, labels, context=context)
    half = run(PGDPR(), net, images, labels, context={"neighbor_softmax": context["neighbor_softmax"].half()})
    torch.testing.assert_close(half.loss_after.mean(), single.loss_after.mean(), rtol=1e-2, atol=0)


def test_neighbours_that_disagree_with_the_label_change_the_attack():
    # All neighbours say class 1 and weigh in heavily: the attack drives the prediction away from class 1.
    images, labels = draw_images(batch=8)
    model = Curved().eval()
    rows = torch.zeros(8, NEIGHBORS, 3)
    rows[:, :, 1] = 1
    result = run(PGDPR(gamma=100.0), model, images, labels, context={"neighbor_softmax": rows})
    plain = run(PGD(), model, images, labels)
    before, after, without = (
        model(points).softmax(1)[:, 1].detach() for points in (images, result.images, plain.images)
    )
    assert (after < before).all()
    assert (after <= without + 1e-6).all()
    assert not torch.equal(result.images, plain.images)


def test_restarts_keep_the_largest_objective():
    images, labels = draw_images(batch=8)
    model, context = Curved(seed=2).eval(), make_context(images)
    one, five = (run(PGDPR(restarts=n, gamma=2.0), model, images, labels, context=context) for n in (1, 5))
    attack = PGDPR(gamma=2.0)
    problem = attack.prepare(make_problem(model, images, labels, context=context))
    with torch.no_grad():
        scores = [attack.objective(problem, result.images) for result in (one, five)]
    assert (scores[1] >= scores[0]).all()
    assert (scores[1] > scores[0]).any()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(five.images), labels, reduction="none")
    torch.testing.assert_close(five.loss_after, loss)


@pytest.mark.parametrize(
    ("form", "context", "words"),
    [
        ("soft", {"neighbor_softmax": torch.rand(3, 2, 3)}, r"neighbor_softmax is \(3, 2, 3\); needed: \(4, K, C\)"),
        ("hard", {"neighbor_softmax": torch.rand(4, 3)}, r"neighbor_softmax is \(4, 3\)"),
        ("soft", {"neighbor_softmax": torch.rand(4, 2, 7)}, "7 classes, the model 3"),
        ("literal", {"neighbor_images": torch.rand(4, 2, 3, 5, 5)}, r"needed: \(4, K, 3, 6, 6\)"),
    ],
)
def test_neighbours_of_a_wrong_shape_are_named(form, context, words):
    images, labels = draw_images()
    with pytest.raises(InputError, match=words):
        run(PGDPR(form=form), Curved().eval(), images, labels, context=context)
