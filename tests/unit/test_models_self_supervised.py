"""SimCLR: its loss against the formula, its views, and that labels play no part."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from nndefense.models import views
from nndefense.models.objective import Batch
from nndefense.models.self_supervised import SelfSupervised
from nndefense.models.views import random_views


def batch(count: int = 6, seed: int = 0, targets: int = 3) -> Batch:
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    return Batch(images, torch.arange(count) % targets, np.arange(count), 0, generator)


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 8)).train()


def test_loss_is_the_papers_formula():
    """Equation 1 of Chen et al. 2020, averaged over both views of all images."""
    method, model, one = SelfSupervised(temperature=0.3), network(), batch()
    loss, _ = method.objective()(model, one)
    again = batch()
    pair = [random_views(again.inputs, again.generator, area=0.2, jitter=0.4, grey=0.2) for _ in range(2)]
    z = functional.normalize(model(torch.cat(pair)), dim=1)
    n, total = len(again.inputs), 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = [k for k in range(2 * n) if k != i]
        similar = torch.stack([z[i] @ z[k] / 0.3 for k in others])
        total += float((similar.logsumexp(0) - z[i] @ z[j] / 0.3).detach())
    assert float(loss) == pytest.approx(total / (2 * n), rel=1e-5)


def test_labels_play_no_part():
    losses = []
    for targets in (2, 5):
        model = network()
        loss, _ = SelfSupervised().objective()(model, batch(targets=targets))
        loss.backward()
        losses.append((float(loss), model[0].weight.grad.clone()))
    assert losses[0][0] == losses[1][0]
    assert torch.equal(losses[0][1], losses[1][1])


def test_training_accuracy_counts_the_nearest_other_image():
    one = batch(targets=2)
    _, nearest = SelfSupervised().objective()(lambda images: torch.cat([_two_clusters(one)] * 2), one)
    assert (nearest.argmax(1) == one.targets).all()


def _two_clusters(one: Batch) -> torch.Tensor:
    return functional.one_hot(one.targets, 2).float() + 0.01 * torch.arange(len(one.targets))[:, None]


def test_views_are_images_and_follow_the_generator():
    images = batch().inputs
    first, again, other = (
        random_views(images, torch.Generator().manual_seed(seed), area=0.2, jitter=0.4, grey=0.2) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_without_changes_a_view_is_the_image_or_its_mirror(monkeypatch):
    monkeypatch.setattr(views, "SHAPES", (1.0, 1.0))
    images = batch(32).inputs
    found = random_views(images, torch.Generator().manual_seed(0), area=1, jitter=0, grey=0)
    same = torch.isclose(found, images, atol=1e-5).flatten(1).all(1)
    mirrored = torch.isclose(found, images.flip(3), atol=1e-5).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 4 < int(same.sum()) < 28


def test_crops_show_a_share_of_the_image(monkeypatch):
    """On a ramp from left to right the range of a view's values is the width of its crop."""
    monkeypatch.setattr(views, "SHAPES", (1.0, 1.0))
    ramp = torch.linspace(0, 1, 64).expand(200, 3, 64, 64)
    found = random_views(ramp, torch.Generator().manual_seed(0), area=0.25, jitter=0, grey=0)
    wide = found.amax((1, 2, 3)) - found.amin((1, 2, 3))
    assert 0.45 < float(wide.min()) < 0.55
    assert float(wide.max()) > 0.95
    areas = wide.square()
    assert float(areas.mean()) == pytest.approx(0.625, abs=0.05)


def test_grey_views_have_no_colour():
    images = batch().inputs
    found = random_views(images, torch.Generator().manual_seed(0), area=1, jitter=0, grey=1)
    assert torch.allclose(found, found[:, :1].expand_as(found), atol=1e-6)
