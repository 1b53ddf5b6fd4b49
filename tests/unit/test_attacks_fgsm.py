"""FGSM on a linear model, where the answer is known, and in the cube against a library."""

import pytest
import torch

from nndefense.attacks.fgsm import FGSM
from nndefense.axes.ball import LINF, RAW
from tests.unit.attack_cases import SPACES, Linear, both_l2_balls, draw_images, run, trained_net


@both_l2_balls
def test_every_pixel_moves_by_the_same_length_along_the_sign_of_the_weights(ball):
    images, _ = draw_images(batch=6, low=0.4, high=0.6)
    model = Linear().eval()
    result = run(FGSM(), model, images, torch.zeros(6, dtype=torch.int64), epsilon=0.03, ball=ball)
    length = 0.03 * SPACES[ball].norms(images) / images[0].numel() ** 0.5
    expected = length.view(-1, 1, 1, 1) * model.weight.detach().sign() * SPACES[ball].scale(images.double())
    torch.testing.assert_close(result.images.double() - images.double(), expected, rtol=0, atol=2e-7)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.03), rtol=1e-5, atol=0)
    assert not result.saturated.any()


@both_l2_balls
def test_pixels_at_the_box_stay_there_and_the_others_share_one_length(ball):
    images, _ = draw_images(batch=6)
    model = Linear().eval()
    result = run(FGSM(), model, images, torch.zeros(6, dtype=torch.int64), epsilon=0.3, ball=ball)
    moved = ((result.images - images) / SPACES[ball].scale(images)).abs()
    inside = (result.images > 1e-6) & (result.images < 1 - 1e-6)
    for image, free in zip(moved, inside, strict=True):
        assert image[free].max() - image[free].min() < 1e-5
        assert image[~free].max() <= image[free].max() + 1e-5
    assert 0.02 < (~inside).float().mean() < 0.9
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.3), rtol=1e-5, atol=0)


def test_in_the_cube_every_pixel_moves_by_epsilon_along_the_signs_of_the_weights():
    model = Linear().eval()
    images, _ = draw_images(low=0.2, high=0.8)
    labels = torch.tensor([0, 1, 0, 1])
    along = torch.where(labels == 0, 1.0, -1.0)[:, None, None, None] * model.weight.detach().sign()
    result = run(FGSM(), model, images, labels, epsilon=0.1, ball=LINF)
    torch.testing.assert_close(result.images, images + 0.1 * along, rtol=0, atol=1e-7)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.1), rtol=1e-5, atol=0)
    assert not result.saturated.any()


def test_in_the_cube_an_image_is_saturated_where_no_pixel_has_room():
    model = Linear().eval()
    along = model.weight.detach().sign()
    corner = (0.5 + 0.5 * along).clamp(0.02, 0.98)
    images = torch.stack([corner, corner, 0.5 + 0.3 * along])
    images[1, 0, 0, 0] = 0.5
    result = run(FGSM(), model, images, torch.zeros(3, dtype=torch.int64), epsilon=0.03, ball=LINF)
    assert result.saturated.tolist() == [True, False, False]
    torch.testing.assert_close(result.delta, torch.tensor([0.02, 0.03, 0.03]).double(), rtol=1e-5, atol=0)


def test_in_the_cube_it_equals_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    net, images, labels = trained_net()
    theirs = torchattacks.FGSM(net, eps=0.03)(images, labels)
    ours = run(FGSM(), net, images, labels, epsilon=0.03, ball=LINF).images
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ball", [RAW, LINF], ids=str)
def test_a_zero_gradient_leaves_the_image_and_says_so(ball):
    images, labels = draw_images()
    result = run(FGSM(), lambda x: (x * 0).sum(dim=(2, 3)), images, labels, ball=ball)
    assert torch.equal(result.images, images)
    assert result.saturated.all()


def test_it_takes_one_gradient():
    images, _ = draw_images()
    model = Linear().eval()
    run(FGSM(), model, images, torch.zeros(4, dtype=torch.int64))
    assert model.images_seen == 3 * len(images)  # two of them to measure the loss before and after
