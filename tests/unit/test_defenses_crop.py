"""Crop ensemble: no defence at fraction 1, crops against torchvision's resize, places, averages."""

import pytest
import torch
from torchvision.transforms.functional import InterpolationMode, resized_crop

from nndefense.defenses.crop_ensemble import CropEnsemble, crop_places, resized_crops
from tests.unit.attack_cases import Curved, draw_images


@pytest.mark.parametrize("average", ["softmax", "logits"])
def test_the_whole_image_is_no_defense(average):
    images, _ = draw_images(4, 9)
    model = Curved(9).eval()
    found = (
        CropEnsemble(crop_fraction=1, average=average).bind(model).probabilities(images, rows=torch.arange(4), seed=0)
    )
    assert torch.equal(found, model(images).softmax(dim=1))
    assert model(images).softmax(dim=1).std(dim=0).max() > 0.01


def test_crops_are_those_of_torchvision():
    images, _ = draw_images(3, 16)
    tops, lefts = torch.tensor([0, 7, 10]), torch.tensor([10, 3, 0])
    found = resized_crops(images, tops, lefts, (6, 6))
    for image, top, left, crop in zip(images, tops, lefts, found, strict=True):
        expected = resized_crop(
            image, int(top), int(left), 6, 6, [16, 16], interpolation=InterpolationMode.BILINEAR, antialias=True
        )
        torch.testing.assert_close(crop, expected)


def test_places_are_uniform_over_all_that_fit():
    places = crop_places((500, 3, 10, 12), (8, 6), 20, torch.arange(500), 0)
    assert places.shape == (20, 2, 500)
    for axis, count in ((0, 3), (1, 7)):
        share = torch.bincount(places[:, axis].flatten(), minlength=count) / 10_000
        assert len(share) == count
        assert (share - 1 / count).abs().max() < 5 * (1 / count / 10_000) ** 0.5
    pairs = places.double().permute(1, 0, 2).reshape(2, -1)
    assert torch.corrcoef(pairs)[0, 1].abs() < 0.05


@pytest.mark.parametrize(("side", "expected"), [(224, 90), (32, 13), (2, 1)])
def test_side_of_a_crop(side, expected, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        "nndefense.defenses.crop_ensemble.resized_crops",
        lambda images, tops, lefts, size: sizes.append(size) or images,
    )
    images, _ = draw_images(1, side)
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    CropEnsemble(crops=1).bind(model).probabilities(images, rows=torch.arange(1), seed=0)
    assert sizes == [(expected, expected)]


@pytest.mark.parametrize("average", ["softmax", "logits"])
def test_average_by_hand(average):
    images, _ = draw_images(2, 10)
    model = Curved(10).eval()
    rows = torch.tensor([5, 9])
    bound = CropEnsemble(crops=7, crop_fraction=0.5, average=average).bind(model)
    found = bound.probabilities(images, rows=rows, seed=2)
    places = crop_places(images.shape, (5, 5), 7, rows, 2)
    logits = torch.stack([model(resized_crops(images, *place, (5, 5))) for place in places])
    expected = logits.softmax(dim=2).mean(dim=0) if average == "softmax" else logits.mean(dim=0).softmax(dim=1)
    torch.testing.assert_close(found, expected)
