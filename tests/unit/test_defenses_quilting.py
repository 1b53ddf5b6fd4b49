"""Image quilting: seams and whole images against brute force, identity on an image's own patches, the database."""

import itertools

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nndefense.core.errors import ConfigError, InputError
from nndefense.defenses.image_quilting import ImageQuilting, assemble, quilt
from nndefense.defenses.patches import (
    build_patch_index,
    grid_patches,
    nearest_patches,
    padding,
    sample_patches,
)
from nndefense.defenses.seams import joined, seams


def draw(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def tensor(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def own_patches(images, size=5, stride=3):
    sides = [(0, padding(side, size, stride)) for side in images.shape[1:3]]
    return grid_patches(np.pad(images, [(0, 0), *sides, (0, 0)], mode="edge"), size, stride)


def paths(length, width):
    """Every path whose columns in neighbouring rows are at most one apart."""
    for path in itertools.product(range(width), repeat=length):
        if all(abs(a - b) <= 1 for a, b in itertools.pairwise(path)):
            yield path


def cheapest(errors):
    """By trying all paths; the last rows' columns decide between equals, as for `seams`."""
    rows = range(len(errors))
    return min(paths(*errors.shape), key=lambda path: (sum(errors[rows, path]), path[::-1]))


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 5), width=st.integers(1, 4), top=st.sampled_from([2, 20, 200_000]), seed=st.integers(0, 999)
)
def test_seams_are_the_cheapest_of_all_paths(length, width, top, seed):
    errors = np.random.default_rng(seed).integers(0, top, (6, length, width))
    for found, error in zip(seams(torch.from_numpy(errors)).numpy(), errors, strict=True):
        assert tuple(found) in set(paths(length, width))
        assert error[range(length), found].sum() == error[range(length), cheapest(error)].sum()


def test_a_seam_follows_the_diagonal_it_is_given():
    errors = torch.full((1, 4, 4), 9.0)
    errors[0, range(4), range(4)] = 1.0
    assert seams(errors).tolist() == [[0, 1, 2, 3]]


def test_seams_of_equal_overlaps_cost_nothing():
    patches = torch.from_numpy(draw(8, 5, 5, 3))
    other = patches.clone()
    other[:, 2:, 2:] = torch.from_numpy(draw(8, 3, 3, 3, seed=1))
    yes = torch.ones(8, dtype=torch.bool)
    assert torch.equal(joined(patches, other, 2, yes, yes), other)
    errors = (patches.int() - other.int()).square().sum(dim=3)[:, :, :2]
    found = seams(errors)
    assert not errors.gather(2, found[..., None]).any()


def one_by_one(patches, height, width, size, stride):
    """Patches (rows * columns, d) laid one by one, with seams found by trying all paths: (H, W, 3) int."""
    canvas = np.zeros((height, width, 3), int)
    corners = itertools.product(range(0, height - size + 1, stride), range(0, width - size + 1, stride))
    for (top, left), patch in zip(corners, patches.reshape(-1, size, size, 3).astype(int), strict=True):
        old, overlap = canvas[top : top + size, left : left + size], size - stride
        errors = ((old - patch) ** 2).sum(2)
        new = np.ones((size, size), bool)
        if left:
            for row, column in enumerate(cheapest(errors[:, :overlap])):
                new[row, :column] = False
        if top:
            for column, row in enumerate(cheapest(errors[:overlap].T)):
                new[:row, column] = False
        old[new] = patch[new]
    return canvas


@pytest.mark.parametrize(("height", "width", "size", "overlap"), [(14, 20, 5, 2), (20, 5, 5, 2), (16, 12, 4, 2)])
def test_whole_images_equal_patches_laid_one_by_one(height, width, size, overlap):
    stride = size - overlap
    count = ((height - size) // stride + 1) * ((width - size) // stride + 1)
    patches = draw(3, count, size * size * 3) // 16 * 16
    found = assemble(torch.from_numpy(patches), (height, width), size, stride)
    for image, own in zip(found.numpy(), patches, strict=True):
        np.testing.assert_array_equal(image, one_by_one(own, height, width, size, stride))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 40), (2, 9)])
@pytest.mark.parametrize("factory", ["Flat", "PCA64,Flat"])
def test_own_patches_reproduce_the_image_everywhere(height, width, factory):
    images = draw(2, height, width, 3)
    patches = np.concatenate([draw(200, 75, seed=1), own_patches(images).reshape(-1, 75)])
    found = quilt(tensor(images), patches, build_patch_index(patches, factory), rows=torch.arange(2), seed=0)
    assert torch.equal(found, tensor(images))


def test_other_patches_replace_every_pixel():
    images = np.full((1, 34, 35, 3), 10, np.uint8)
    patches = np.full((3, 75), 200, np.uint8)
    index = build_patch_index(patches)
    found = quilt(tensor(images), patches, index, rows=torch.arange(1), seed=0)
    assert torch.equal(found, torch.full_like(found, 200 / 255))


@settings(max_examples=10, deadline=None)
@given(level=st.integers(0, 255), height=st.integers(5, 17), width=st.integers(5, 17))
def test_constant_images_stay_constant(level, height, width):
    images = np.full((2, height, width, 3), level, np.uint8)
    patches = np.concatenate([np.full((1, 75), shade, np.uint8) for shade in {0, 255, level}])
    found = quilt(tensor(images), patches, build_patch_index(patches), rows=torch.arange(2), seed=0)
    assert torch.equal(found, tensor(images))


def test_pixels_come_from_the_database():
    """Its shades are multiples of 10, those of the image are not."""
    patches = draw(300, 75) // 10 * 10
    images = draw(2, 20, 20, 3) // 10 * 10 + 3
    found = quilt(tensor(images), patches, build_patch_index(patches), rows=torch.arange(2), seed=0)
    assert not ((found * 255).round() % 10).any()


def test_one_of_the_nearest_is_drawn_with_equal_chance():
    shades = np.array([100, 110, 120, 130, 250, 255], np.uint8)
    patches = np.repeat(shades[:, None], 75, axis=1)
    images = tensor(np.full((2000, 5, 5, 3), 105, np.uint8))
    defense = ImageQuilting(neighbors=4)
    found = defense.transform(images, torch.arange(2000), 5, defense.prepare({"patches": patches}))
    counts = np.bincount((found[:, 0, 0, 0] * 255).round().int().numpy(), minlength=256)
    assert set(np.flatnonzero(counts)) == {100, 110, 120, 130}
    assert abs(counts[[100, 110, 120, 130]] - 500).max() < 100  # five standard deviations


def test_nearest_patches_are_those_of_brute_force():
    patches, queries = draw(500, 75), np.random.default_rng(1).random((40, 75), np.float32)
    found = nearest_patches(build_patch_index(patches), queries, 3)
    distances = ((queries[:, None] - patches / 255.0) ** 2).sum(2)
    np.testing.assert_array_equal(found, distances.argsort(axis=1)[:, :3])


def test_an_approximate_index_that_finds_too_few_repeats_the_nearest():
    patches = np.concatenate([draw(400, 75) // 8, 255 - draw(3, 75) // 8])
    index = build_patch_index(patches, "IVF2,Flat")
    queries = np.ones((1, 75), np.float32)
    found = nearest_patches(index, queries, 10, nprobe=1)
    assert set(found[0]) == {400, 401, 402}
    assert (found[0, 3:] == found[0, 0]).all()
    assert len(set(nearest_patches(index, queries, 10, nprobe=2)[0])) == 10


def test_the_index_is_made_once_by_its_factory():
    defense = ImageQuilting(factory="PCA16,Flat")
    prepared = defense.prepare({"patches": draw(100, 75)})
    assert isinstance(prepared["patch_index"], faiss.IndexPreTransform)
    assert defense.prepare(prepared) is prepared


def test_samples_are_patches_of_their_image_at_random_places():
    images = (np.arange(40, dtype=np.uint8)[:, None, None, None] * 6 + draw(40, 9, 12, 3) // 64).astype(np.uint8)
    patches = sample_patches(images, 30, seed=2).reshape(40, 30, 5, 5, 3)
    corners = set()
    for image, own in zip(images, patches, strict=True):
        for patch in own:
            places = [
                (top, left)
                for top, left in itertools.product(range(5), range(8))
                if np.array_equal(image[top : top + 5, left : left + 5], patch)
            ]
            assert len(places) == 1
            corners.add(places[0])
    assert len(corners) == 40


def test_samples_depend_on_seed_and_row_alone():
    images = draw(6, 8, 8, 3)
    whole = sample_patches(images, 4, seed=1)
    assert whole.shape == (24, 75)
    assert whole.dtype == np.uint8
    part = sample_patches(images[2:5], 4, seed=1, rows=np.arange(2, 5))
    np.testing.assert_array_equal(part, whole[8:20])
    assert (sample_patches(images, 4, seed=2) != whole).any()


@pytest.mark.parametrize(
    ("side", "expected"), [(32, 0), (224, 0), (299, 0), (33, 2), (34, 1), (64, 1), (5, 0), (4, 1), (1, 4)]
)
def test_padding_covers_the_side(side, expected):
    assert padding(side) == expected


def test_what_does_not_fit_is_named():
    patches = draw(10, 75)
    index = build_patch_index(patches)
    images = torch.zeros(1, 3, 8, 8)
    with pytest.raises(InputError, match=r"patches are uint8 \(9, 75\)"):
        quilt(images, patches[:9], index, rows=torch.arange(1), seed=0)
    with pytest.raises(InputError, match="patches are int64"):
        quilt(images, patches.astype(np.int64), index, rows=torch.arange(1), seed=0)
    with pytest.raises(InputError, match="hold no patch of 5 x 5"):
        sample_patches(draw(1, 4, 8, 3))
    with pytest.raises(InputError, match="at least 1"):
        sample_patches(draw(1, 8, 8, 3), 0)
    with pytest.raises(ConfigError, match="at most half"):
        ImageQuilting(overlap=3)
