"""PGD-FS against its analytic gradient, and with the features of this package."""

import numpy as np
import pytest
import torch
from torch import nn

from nndefense.attacks.pgd import PGD
from nndefense.attacks.pgd_fs import PGDFS
from nndefense.core.errors import InputError
from nndefense.features.extract import FeatureExtractor
from nndefense.features.pca import Moments, as_torch, fit_pca
from nndefense.models.build import build_model
from tests.unit.attack_cases import (
    CODES,
    NEIGHBORS,
    SPACES,
    Curved,
    both_l2_balls,
    draw_images,
    make_context,
    make_problem,
    run,
)


def distances(context, images):
    """Sum of the squared distances to the K neighbours, (B,) double."""
    codes = context["encode"](images).double()
    return (codes[:, None] - context["neighbor_codes"].double()).square().sum(dim=(1, 2)).detach()


@both_l2_balls
def test_gradient_is_2_k_times_the_jacobian_times_the_distance_to_the_mean(ball):
    images, labels = draw_images()
    matrix = torch.randn(CODES, images[0].numel(), generator=torch.Generator().manual_seed(0))
    codes = torch.randn(4, NEIGHBORS, CODES, generator=torch.Generator().manual_seed(1))

    def encode(points):
        return torch.tanh(points.flatten(1) @ matrix.T / 6)

    problem = make_problem(
        Curved().eval(), images, labels, ball=ball, context={"encode": encode, "neighbor_codes": codes}
    )
    attack = PGDFS()
    found = attack.gradient(attack.prepare(problem), problem.region.center)
    code = torch.tanh(images.double().flatten(1) @ matrix.double().T / 6)
    jacobian = (1 - code.square())[:, :, None] * matrix.double()[None] / 6
    wanted = 2 * NEIGHBORS * torch.einsum("bkd,bk->bd", jacobian, code - codes.double().mean(1))
    wanted = wanted.view(images.shape) * SPACES[ball].scale(images.double())
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())


def test_objective_is_the_sum_over_the_neighbours_up_to_a_constant():
    images, labels = draw_images()
    context, attack = make_context(images), PGDFS()
    problem = attack.prepare(make_problem(Curved().eval(), images, labels, context=context))
    gaps = []
    for seed in (5, 6):
        points = draw_images(seed=seed)[0]
        gaps.append(distances(context, points) - attack.objective(problem, points).double())
    torch.testing.assert_close(gaps[0], gaps[1], rtol=1e-4, atol=1e-5)


def test_it_leaves_the_neighbours_farther_behind_than_pgd():
    images, labels = draw_images(batch=8)
    context, model = make_context(images), Curved().eval()
    ours = run(PGDFS(), model, images, labels, context=context)
    pgd = run(PGD(), model, images, labels)
    before, after, other = (distances(context, points) for points in (images, ours.images, pgd.images))
    assert (after > before).all()
    assert (after > other).all()


def test_labels_and_logits_play_no_part():
    images, labels = draw_images()
    context = make_context(images)
    first = run(PGDFS(), Curved().eval(), images, labels, context=context)
    second = run(PGDFS(), Curved(seed=9).eval(), images, (labels + 1) % 3, context=context)
    assert torch.equal(first.images, second.images)


def test_the_mean_of_the_neighbours_is_enough():
    images, labels = draw_images()
    context, model = make_context(images), Curved().eval()
    mean = context | {"neighbor_codes": context["neighbor_codes"].mean(dim=1, keepdim=True)}
    assert torch.equal(
        run(PGDFS(), model, images, labels, context=mean).images,
        run(PGDFS(), model, images, labels, context=context).images,
    )


def test_an_image_that_is_its_own_neighbour_needs_the_random_start():
    images, labels = draw_images()
    context = make_context(images)
    context["neighbor_codes"] = context["encode"](images)[:, None]
    stuck = run(PGDFS(random_start=False), Curved().eval(), images, labels, context=context)
    assert torch.equal(stuck.images, images)
    moved = run(PGDFS(), Curved().eval(), images, labels, context=context)
    assert (distances(context, moved.images) > 1e-3).all()


def test_restarts_keep_the_largest_distance_and_report_its_loss():
    images, labels = draw_images(batch=8)
    context, model = make_context(images), Curved().eval()
    # The middle of the codes, where the random start decides the way.
    context["neighbor_codes"] = context["encode"](images)[:, None] + 0.01 * context["neighbor_codes"]
    one, five = (run(PGDFS(restarts=n), model, images, labels, context=context) for n in (1, 5))
    assert (distances(context, five.images) >= distances(context, one.images) * (1 - 1e-5)).all()
    assert (distances(context, five.images) > 1.01 * distances(context, one.images)).any()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(five.images), labels, reduction="none")
    torch.testing.assert_close(five.loss_after, loss)
    # Were cross-entropy to choose, no image could lose any by more restarts.
    assert (five.loss_after < one.loss_after).any()


def test_with_the_features_and_the_pca_of_this_package():
    model = build_model("cifar_resnet8", 3, (0.5,) * 3, (0.25,) * 3)
    extractor = FeatureExtractor(model, ["conv_4_1"], stop_early=True)
    database, _ = draw_images(batch=24, size=32, seed=4)
    images, labels = draw_images(size=32)
    with torch.no_grad():
        features = extractor(database)[0]["conv_4_1"].numpy()
    pca = fit_pca(Moments.empty(features.shape[1]).update(features), components=8)
    mean, projection = as_torch(pca)

    def encode(points):
        return (extractor(points)[0]["conv_4_1"] - mean) @ projection.T

    codes = torch.from_numpy(pca.transform(features))
    with torch.no_grad():
        query = encode(images)
    nearest = torch.cdist(query, codes).topk(NEIGHBORS, largest=False).indices
    context = {"encode": encode, "neighbor_codes": codes[nearest]}
    result = run(PGDFS(steps=4), model, images, labels, epsilon=0.05, context=context)
    assert (distances(context, result.images) > distances(context, images)).all()
    assert (result.delta <= 0.05 * (1 + 1e-5)).all()
    with torch.no_grad():
        found = torch.cdist(encode(result.images), codes).topk(NEIGHBORS, largest=False).indices
    assert not np.array_equal(found.numpy(), nearest.numpy())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"neighbor_codes": torch.rand(3, 2, CODES)}, r"neighbor_codes is \(3, 2, 5\); needed: \(4, K, d\)"),
        ({"neighbor_codes": torch.rand(4, CODES)}, r"neighbor_codes is \(4, 5\)"),
        ({"neighbor_codes": torch.rand(4, 0, CODES)}, "K >= 1"),
        ({"neighbor_codes": torch.rand(4, 2, CODES + 1)}, "have 6 dimensions"),
    ],
)
def test_neighbours_of_a_wrong_shape_are_named(change, words):
    images, labels = draw_images()
    with pytest.raises(InputError, match=words):
        run(PGDFS(), Curved().eval(), images, labels, context=make_context(images) | change)
