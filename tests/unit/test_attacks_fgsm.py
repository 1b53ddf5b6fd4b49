"""FGSM on a linear model, where the answer is known."""

import pytest
import torch

from nndefense.attacks.fgsm import FGSM
from tests.unit.attack_cases import SPACES, Linear, draw_images, run

both_spaces = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@both_spaces
def test_every_pixel_moves_by_the_same_length_along_the_sign_of_the_weights(space):
    images, _ = draw_images(batch=6, low=0.4, high=0.6)
    model = Linear().eval()
    result = run(FGSM(), model, images, torch.zeros(6, dtype=torch.int64), epsilon=0.03, space=space)
    length = 0.03 * space.norms(images) / images[0].numel() ** 0.5
    expected = length.view(-1, 1, 1, 1) * model.weight.detach().sign() * space.scale(images.double())
    torch.testing.assert_close(result.images.double() - images.double(), expected, rtol=0, atol=2e-7)
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.03), rtol=1e-5, atol=0)
    assert not result.saturated.any()


@both_spaces
def test_pixels_at_the_box_stay_there_and_the_others_share_one_length(space):
    images, _ = draw_images(batch=6)
    model = Linear().eval()
    result = run(FGSM(), model, images, torch.zeros(6, dtype=torch.int64), epsilon=0.3, space=space)
    moved = ((result.images - images) / space.scale(images)).abs()
    inside = (result.images > 1e-6) & (result.images < 1 - 1e-6)
    for image, free in zip(moved, inside, strict=True):
        assert image[free].max() - image[free].min() < 1e-5
        assert image[~free].max() <= image[free].max() + 1e-5
    assert 0.02 < (~inside).float().mean() < 0.9
    torch.testing.assert_close(result.delta, torch.full_like(result.delta, 0.3), rtol=1e-5, atol=0)


def test_a_zero_gradient_leaves_the_image_and_says_so():
    images, labels = draw_images()
    result = run(FGSM(), lambda x: (x * 0).sum(dim=(2, 3)), images, labels)
    assert torch.equal(result.images, images)
    assert result.saturated.all()


def test_it_takes_one_gradient():
    images, _ = draw_images()
    model = Linear().eval()
    run(FGSM(), model, images, torch.zeros(4, dtype=torch.int64))
    assert model.images_seen == 3 * len(images)  # two of them to measure the loss before and after
