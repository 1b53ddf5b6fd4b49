"""Bands of images against SPORCO, a sparse solver, and what must hold for any image."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from sporco.signal import tikhonov_filter

from nndefense.core.errors import ConfigError, InputError
from nndefense.dictionaries.split import split
from tests.unit.dictionary_cases import pictures


@pytest.mark.parametrize(("height", "width"), [(32, 32), (21, 18), (7, 40)])
@pytest.mark.parametrize("low_pass", [0.5, 5.0])
def test_bands_are_those_of_sporco(height, width, low_pass):
    images = pictures(2, height, width, dtype=torch.float64)
    low, high = split(images, low_pass)
    for image, one, other in zip(images, low, high, strict=True):
        expected = tikhonov_filter(image.permute(1, 2, 0).numpy(), low_pass, 16)
        np.testing.assert_allclose(one.permute(1, 2, 0), expected[0], atol=1e-12)
        np.testing.assert_allclose(other.permute(1, 2, 0), expected[1], atol=1e-12)


def test_the_low_band_minimises_what_it_should():
    image = pictures(1, 6, 5, dtype=torch.float64)[0, 0].numpy()
    padded = np.pad(image, 16, mode="symmetric")
    height, width = padded.shape

    def difference(side):
        return scipy.sparse.eye(side) - scipy.sparse.eye(side, k=-1) - scipy.sparse.eye(side, k=side - 1)

    down = scipy.sparse.kron(difference(height), scipy.sparse.eye(width))
    across = scipy.sparse.kron(scipy.sparse.eye(height), difference(width))
    system = scipy.sparse.eye(height * width) + 5.0 * (down.T @ down + across.T @ across)
    expected = scipy.sparse.linalg.spsolve(system.tocsc(), padded.ravel()).reshape(height, width)[16:-16, 16:-16]
    low, _ = split(torch.from_numpy(image)[None, None], 5.0)
    np.testing.assert_allclose(low[0, 0], expected, atol=1e-12)


def test_bands_add_up_to_the_image():
    images = pictures(3)
    for low_pass in (0.0, 0.3, 5.0, 1e6):
        low, high = split(images, low_pass)
        assert torch.equal(high, images - low)
        # The last bit of a pixel below 1.
        assert (low + high - images).abs().max() <= 2**-24


def test_without_a_weight_all_is_low_and_with_much_all_but_the_mean_is_high():
    images = pictures(3, dtype=torch.float64)
    assert split(images, 0.0)[1].abs().max() < 1e-14
    low, high = split(images, 1e9)
    assert low.std(dim=(2, 3)).max() < 1e-5
    assert high.square().mean() > 0.5 * (images - images.mean(dim=(2, 3), keepdim=True)).square().mean()


def test_more_weight_leaves_less_in_the_low_band():
    images = pictures(3)
    energy = [float(split(images, low_pass)[1].square().sum()) for low_pass in (0.1, 1.0, 5.0, 20.0)]
    assert energy == sorted(energy)
    assert energy[0] > 0


def test_constants_are_low():
    flat = torch.tensor([0.0, 0.3, 1.0]).view(1, 3, 1, 1).expand(2, 3, 9, 33)
    low, high = split(flat, 5.0)
    torch.testing.assert_close(low, flat, atol=3e-7, rtol=0)
    assert high.abs().max() < 3e-7


def test_channels_and_images_do_not_meet():
    images = pictures(3)
    images[1, 2] = 0.5
    low, _ = split(images, 5.0)
    torch.testing.assert_close(low[1, 2], images[1, 2], atol=3e-7, rtol=0)
    torch.testing.assert_close(low[2:], split(images[2:], 5.0)[0], atol=3e-7, rtol=0)


def test_gradients_flow():
    images = pictures(1, 4, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: split(x, 5.0), images)


def test_bad_arguments_are_named():
    images = pictures(1)
    for low_pass in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="low_pass is"):
            split(images, low_pass)
    with pytest.raises(ConfigError, match="padding -1"):
        split(images, 1.0, -1)
    with pytest.raises(InputError, match="split needs"):
        split(images[0], 1.0)
    with pytest.raises(InputError, match="uint8"):
        split((images * 255).to(torch.uint8), 1.0)
