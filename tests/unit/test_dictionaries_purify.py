"""Purified images against the formula and its limits, and comparators against their libraries."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from nndefense.core.errors import ConfigError, InputError
from nndefense.dictionaries.coding import METHODS, code
from nndefense.dictionaries.comparators import jpeg, low_band, median
from nndefense.dictionaries.purify import purify, purify_unrolled
from nndefense.dictionaries.spectrum import reconstruct
from nndefense.dictionaries.split import split
from tests.unit.dictionary_cases import dictionary, pictures

BOTH = pytest.mark.parametrize("method", METHODS)
DICTIONARIES = [dictionary(), dictionary(seed=1, count=6), dictionary(seed=2, size=7)]
CHOSEN = torch.tensor([2, 0, 1, 0, 2, 0])


@BOTH
def test_purified_images_are_the_low_band_and_what_the_code_reconstructs(method):
    images = pictures(6)
    found = purify(images, DICTIONARIES, CHOSEN, sparsity=0.05, method=method)
    low, high = split(images, 5.0)
    assert torch.equal(found.low, low)
    assert torch.equal(found.high, high)
    for place, one in enumerate(CHOSEN.tolist()):
        codes = code(high[place : place + 1], DICTIONARIES[one], 0.05, method=method)
        expected = (low[place] + reconstruct(codes.maps, DICTIONARIES[one])[0]).clamp(0, 1)
        torch.testing.assert_close(found.images[place], expected, atol=2e-6, rtol=0)
        assert found.iterations[place] == codes.iterations
        assert found.objective[place] == pytest.approx(float(codes.objectives[0, -1]), rel=1e-5)


@BOTH
def test_a_batch_of_one_is_as_a_batch_of_many(method):
    """Up to the rounding of the FFT, whose order may depend on the batch: a fiftieth of what 8 bits can tell."""
    images = pictures(6)
    together = purify(images, DICTIONARIES, CHOSEN, sparsity=0.05, method=method).images
    for place in range(6):
        part = slice(place, place + 1)
        alone = purify(images[part], DICTIONARIES, CHOSEN[part], sparsity=0.05, method=method).images
        torch.testing.assert_close(alone, together[part], atol=1e-5, rtol=0)
    backwards = purify(images.flip(0), DICTIONARIES, CHOSEN.flip(0), sparsity=0.05, method=method).images
    torch.testing.assert_close(backwards.flip(0), together, atol=1e-5, rtol=0)
    other = purify(images, DICTIONARIES, (CHOSEN + 1) % 3, sparsity=0.05, method=method).images
    assert (other - together).abs().amax(dim=(1, 2, 3)).min() > 1e-3


@BOTH
def test_much_sparsity_leaves_the_low_band_and_little_the_image(method):
    images = pictures(6)
    much = purify(images, DICTIONARIES, CHOSEN, sparsity=100.0, method=method).images
    torch.testing.assert_close(much, low_band(images, 5.0))
    little = purify(images, DICTIONARIES, CHOSEN, sparsity=1e-4, method=method, iterations=3000, tolerance=1e-4).images
    assert (little - images).abs().max() < 0.01
    between = purify(images, DICTIONARIES, CHOSEN, sparsity=0.05, method=method).images
    assert (between - images).abs().amax(dim=(1, 2, 3)).min() > 0.01
    assert (between - much).abs().amax(dim=(1, 2, 3)).min() > 0.01


def test_nothing_is_rescaled():
    """Dark images stay as dark, and bright ones as bright."""
    images = pictures(6)
    for scale, shift in ((0.3, 0.0), (0.3, 0.7)):
        shown = purify(scale * images + shift, DICTIONARIES, CHOSEN, sparsity=0.01).images
        assert (shown.mean(dim=(1, 2, 3)) - (scale * images + shift).mean(dim=(1, 2, 3))).abs().max() < 0.005
        assert (shown.amax(dim=(1, 2, 3)) - (scale * images + shift).amax(dim=(1, 2, 3))).abs().max() < 0.05


def test_pixels_are_clipped_and_stay_where_they_are():
    images = (pictures(6) > 0.5).float()
    found = purify(images, DICTIONARIES, CHOSEN, sparsity=0.01)
    assert found.images.min() == 0
    assert found.images.max() == 1
    assert ((found.images - images).abs() < 0.2).float().mean() > 0.95


def test_channels_stay_apart_in_their_order():
    images = pictures(6)
    images[:, 0], images[:, 2] = 0.9, 0.1
    shown = purify(images, DICTIONARIES, CHOSEN, sparsity=0.05).images
    means = shown.mean(dim=(2, 3))
    torch.testing.assert_close(means, images.mean(dim=(2, 3)), atol=0.01, rtol=0)


@BOTH
def test_unrolled_purification_is_the_same_for_as_many_steps(method):
    images = pictures(6)
    options = {"sparsity": 0.05, "method": method, "iterations": 9}
    expected = purify(images, DICTIONARIES, CHOSEN, tolerance=0.0, **options).images
    shown = purify_unrolled(images, DICTIONARIES, CHOSEN, **options)
    torch.testing.assert_close(shown, expected, atol=2e-6, rtol=0)
    enough = purify_unrolled(images, DICTIONARIES, CHOSEN, **options | {"iterations": 150})
    torch.testing.assert_close(
        enough, purify(images, DICTIONARIES, CHOSEN, **options | {"iterations": 900}).images, atol=0.01, rtol=0
    )


@BOTH
def test_unrolled_purification_has_the_gradient_of_its_images(method):
    dictionaries = [dictionary(dtype=torch.float64), dictionary(seed=1, dtype=torch.float64)]
    images, chosen = pictures(2, dtype=torch.float64), torch.tensor([1, 0])
    draw = torch.Generator().manual_seed(0)
    direction, weights = torch.randn(2, *images.shape, generator=draw, dtype=torch.float64)

    def value(x):
        shown = purify_unrolled(x, dictionaries, chosen, sparsity=0.02, method=method)
        return (weights * shown).sum(dim=(1, 2, 3))

    (slope,) = torch.autograd.grad(value(images.requires_grad_()).sum(), images)
    # So small that hardly any coefficient comes or goes on the way.
    step = 1e-8
    with torch.no_grad():
        expected = (value(images + step * direction) - value(images - step * direction)) / (2 * step)
    torch.testing.assert_close((slope * direction).sum(dim=(1, 2, 3)), expected, rtol=1e-4, atol=1e-5)
    # More than the low band's own.
    low = torch.autograd.grad((weights * split(images, 5.0)[0]).sum(), images)[0]
    assert (slope - low).norm() > 0.5 * slope.norm()


def test_no_images_are_no_exception():
    assert purify(pictures(6)[:0], DICTIONARIES, CHOSEN[:0], sparsity=0.05).images.shape == (0, 3, 20, 18)


def test_bad_arguments_are_named():
    images = pictures(6)
    for one, chosen, error, words in (
        (images, CHOSEN[:2], InputError, "needs 6 dictionaries"),
        (images, CHOSEN.float(), InputError, "float32"),
        (images, CHOSEN + 1, InputError, "dictionary 3 is chosen; allowed: 0 to 2"),
        (images, CHOSEN - 1, InputError, "dictionary -1 is chosen"),
        (images * 255, CHOSEN, InputError, "pixels in"),
        (images.index_fill(3, torch.tensor(0), torch.nan), CHOSEN, InputError, "pixels in"),
        (images[..., 1:], CHOSEN, InputError, "coding needs"),
    ):
        for call in (purify, purify_unrolled):
            with pytest.raises(error, match=words):
                call(one, DICTIONARIES, chosen, sparsity=0.05)
    with pytest.raises(ConfigError, match="low_pass"):
        purify(images, DICTIONARIES, CHOSEN, sparsity=0.05, low_pass=-1.0)


@pytest.mark.parametrize(("quality", "subsampling"), [(30, "4:2:0"), (75, "4:4:4"), (90, "4:2:2")])
def test_jpeg_is_what_a_file_shows(quality, subsampling):
    images = pictures(3)
    shown = jpeg(images, quality, subsampling)
    assert shown.dtype == images.dtype
    for image, one in zip(images, shown, strict=True):
        file = io.BytesIO()
        pixels = (image * 255).round().byte().numpy().transpose(1, 2, 0)
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
        np.testing.assert_allclose(one, np.asarray(Image.open(file)).transpose(2, 0, 1) / 255, atol=1e-7)


def test_jpeg_of_less_quality_is_further_off_and_colours_keep_their_channels():
    images = pictures(3)
    away = [float((jpeg(images, quality) - images).square().mean()) for quality in (95, 50, 10)]
    assert away == sorted(away)
    red = torch.tensor([0.9, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 16, 24)
    assert (jpeg(red, 90) - red).abs().max() < 0.02


def test_the_median_is_of_the_pixels_around():
    images = pictures(2, 8, 7)
    for size in (3, 5):
        reach = (size // 2, size // 2)
        padded = np.pad(images.numpy(), ((0, 0), (0, 0), reach, reach), mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
        np.testing.assert_array_equal(median(images, size), np.median(windows, axis=(4, 5)))
    assert torch.equal(median(images, 1), images)


def test_the_low_band_alone_stays_in_range():
    images = (pictures(3) > 0.5).float()
    for low_pass in (0.0, 0.2, 5.0):
        shown = low_band(images, low_pass)
        torch.testing.assert_close(shown, split(images, low_pass)[0], atol=1e-6, rtol=0)
        assert 0 <= shown.min() < shown.max() <= 1


def test_comparators_name_bad_arguments():
    images = pictures(1)
    for call, words in (
        (lambda: jpeg(images, 0), "quality is 0"),
        (lambda: jpeg(images, 75, "4:1:1"), "subsampling is '4:1:1'"),
        (lambda: median(images, 2), "size is 2"),
        (lambda: low_band(images, -1.0), "low_pass is -1"),
    ):
        with pytest.raises(ConfigError, match=words):
            call()
    with pytest.raises(InputError, match="3 channels"):
        jpeg(images[:, :1])
    for comparator in (jpeg, median, lambda x: low_band(x, 1.0)):
        with pytest.raises(InputError, match="comparators need"):
            comparator(images * 2)
