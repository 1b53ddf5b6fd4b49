"""Projections and exact scaling against a general solver, the budget's promise in float64, distances of each ball."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from nndefense.attacks.budget import images_within_budget, project, project_exact, radii, scale_to_budget
from nndefense.attacks.region import distances, region_of
from nndefense.attacks.space import PixelSpace, l2_norms
from nndefense.axes import ball as balls
from nndefense.core.errors import ConfigError, InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RAW, STANDARDIZED = PixelSpace("raw01", MEAN, STD), PixelSpace("standardized", MEAN, STD)
spaces = pytest.mark.parametrize("space", [RAW, STANDARDIZED], ids=["raw01", "standardized"])
seeds = st.integers(0, 2**32 - 1)


def random_images(seed, batch=3, size=5):
    """Images with many pixels at the ends of the box."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-0.5, 1.5, size=(batch, 3, size, size)) * rng.choice([1, 1, 0.01])
    return torch.from_numpy(pixels.clip(0, 1).astype(np.float32))


def cube(batch=3, size=5):
    return torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)


@spaces
def test_space_round_trip_and_delta(space):
    images = random_images(0)
    torch.testing.assert_close(space.to_images(space.from_images(images)), images)
    other = random_images(1)
    z, z_other = (space.from_images(x.double()).flatten(1).numpy() for x in (images, other))
    expected = np.linalg.norm(z - z_other, axis=1) / np.linalg.norm(z, axis=1)
    np.testing.assert_allclose(space.delta(images, other).numpy(), expected, rtol=1e-12)
    low, high = space.bounds(images)
    assert (space.from_images(images) >= low).all()
    assert (space.from_images(images) <= high).all()


def test_delta_of_a_zero_image():
    black = torch.zeros(2, 3, 4, 4)
    changed = black.clone()
    changed[1, 0, 0, 0] = 0.1
    assert RAW.delta(black, changed).tolist() == [0, float("inf")]


def test_bad_spaces_are_named():
    with pytest.raises(ConfigError, match=r"'lab'.*raw01, standardized"):
        PixelSpace("lab")
    with pytest.raises(ConfigError, match="needs the channels' mean and std"):
        PixelSpace("standardized")
    with pytest.raises(ConfigError, match="needs the channels' mean and std"):
        region_of(balls.STANDARDIZED, None, random_images(0), 0.1)
    with pytest.raises(ConfigError, match="std > 0"):
        PixelSpace("standardized", (0, 0), (1, 0))
    with pytest.raises(InputError, match="2 channels, the images have 3"):
        PixelSpace("standardized", (0, 0), (1, 1)).norms(random_images(0))


@spaces
@settings(max_examples=100, deadline=None)
@given(seeds, st.floats(1e-4, 3), st.floats(0, 100))
def test_budget_and_box_hold_in_float64(space, seed, epsilon, reach):
    images = random_images(seed)
    radius, z = radii(images, epsilon, space), space.from_images(images)
    z_adv = z + reach * torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
    cheap = project(z_adv, z, radius, *space.bounds(images))
    for candidate in (z_adv, cheap):
        result = images_within_budget(images, candidate, radius, space)
        assert result.dtype == torch.float32
        assert (space.delta(images, result) <= epsilon * (1 + 1e-5)).all()
        assert result.min() >= 0
        assert result.max() <= 1


@spaces
def test_rounding_never_breaks_a_tiny_budget(space):
    # At epsilon 1e-6 a float32 step of a bright pixel is longer than its share of the budget.
    images = 1 - 0.01 * random_images(3)
    radius = radii(images, 1e-6, space)
    z_adv = space.from_images(images) - 1.0
    result = images_within_budget(images, z_adv, radius, space)
    assert (space.delta(images, result) <= 1e-6 * (1 + 1e-5)).all()


def test_rounding_never_breaks_a_tiny_cube():
    images = 1 - 0.01 * random_images(3)
    for epsilon in (1e-6, 1e-4, 0.01):
        region = region_of(balls.LINF, None, images, epsilon)
        z = region.project(images - 1)
        result = region.finished(z)
        assert ((result.double() - images.double()).abs() <= epsilon * (1 + 1e-5)).all()
        # Nothing to correct where the budget is many floats wide.
        assert torch.equal(result, z) == (epsilon == 0.01)
        assert (distances(images, result, None)["linf"] > 0.9 * epsilon).all()


def test_distances_equal_those_of_numpy():
    images, others = random_images(0), random_images(1)
    others[2] = images[2]
    found = distances(images, others, (MEAN, STD))
    x, y = (one.numpy().astype(np.float64) for one in (images, others))
    mean, std = (np.reshape(values, (1, 3, 1, 1)) for values in (MEAN, STD))
    for name, z, changed in (("raw01", x, y), ("standardized", (x - mean) / std, (y - mean) / std)):
        norms = [np.linalg.norm(one.reshape(3, -1), axis=1) for one in (changed - z, z)]
        np.testing.assert_allclose(found[name].numpy(), norms[0] / norms[1], rtol=1e-12)
    assert found["linf"].tolist() == np.abs(y - x).reshape(3, -1).max(axis=1).tolist()
    assert {str(values.dtype) for values in found.values()} == {"torch.float64"}
    assert distances(images, others, None)["standardized"].isnan().all()


@spaces
def test_no_budget_gives_the_image_back_bit_exactly(space):
    images = random_images(5)
    z = space.from_images(images)
    assert torch.equal(images_within_budget(images, z + 1, torch.zeros(3).double(), space), images)
    assert torch.equal(images_within_budget(images, z, torch.ones(3).double(), space), images)


@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(0.05, 2.0))
def test_exact_projection_equals_a_general_solver(seed, radius):
    rng = np.random.default_rng(seed)
    x, target = rng.uniform(size=12), rng.normal(0.5, 1.0, size=12)
    solution = minimize(
        lambda y: ((y - target) ** 2).sum(),
        x,
        jac=lambda y: 2 * (y - target),
        bounds=[(0, 1)] * 12,
        constraints={
            "type": "ineq",
            "fun": lambda y: radius**2 - ((y - x) ** 2).sum(),
            "jac": lambda y: -2 * (y - x),
        },
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    shaped = [torch.from_numpy(v).view(1, 3, 2, 2) for v in (target, x)]
    ours = project_exact(*shaped, torch.tensor([radius]), *cube()).double().view(-1).numpy()
    assert np.linalg.norm(ours - x) <= radius * (1 + 1e-6)
    assert ((ours - target) ** 2).sum() <= solution.fun + 1e-6
    np.testing.assert_allclose(ours, solution.x, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(1e-3, 30))
def test_exact_projection_beats_the_cheap_one_and_keeps_feasible_points(seed, radius):
    z = random_images(seed).double()
    target = z + torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).double()
    limit = torch.full((3,), radius, dtype=torch.float64)
    exact, cheap = project_exact(target, z, limit, *cube()), project(target, z, limit, *cube())
    assert (l2_norms(exact - z) <= limit * (1 + 1e-9)).all()
    assert (l2_norms(exact - target) <= l2_norms(cheap - target) + 1e-9).all()
    torch.testing.assert_close(project_exact(exact, z, limit, *cube()), exact, rtol=0, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(seeds, st.floats(1e-6, 20), st.floats(1e-30, 1e30))
def test_scaling_spends_exactly_the_budget(seed, radius, unit):
    z = random_images(seed).double()
    direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).double() ** 3 * unit
    limit = torch.full((3,), radius, dtype=torch.float64)
    point, saturated = scale_to_budget(z, direction, limit, *cube())
    corner = torch.where(direction > 0, 1.0, 0.0).double()
    reach = l2_norms(corner - z)
    assert torch.equal(saturated, reach < limit)
    torch.testing.assert_close(l2_norms(point - z), torch.minimum(limit, reach), rtol=1e-9, atol=0)
    assert point.min() >= 0
    assert point.max() <= 1
    # One scale explains every pixel: those inside of the box moved in proportion, the others are at its edge.
    inside = (point > 0) & (point < 1)
    for image in range(3):
        moved = (direction[image].abs() * inside[image]).argmax()
        scale = ((point[image] - z[image]) / direction[image]).flatten()[moved]
        if inside[image].any():
            expected = (z[image] + scale * direction[image]).clamp(0, 1)
            torch.testing.assert_close(point[image], expected, rtol=0, atol=1e-9)


def test_scaling_without_clipping_has_a_closed_form():
    z = torch.full((1, 3, 4, 4), 0.5)
    direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(0)).sign()
    point, saturated = scale_to_budget(z, direction, torch.tensor([0.7]), *cube())
    torch.testing.assert_close(point, z + 0.7 / 48**0.5 * direction)
    assert not saturated.any()


def test_scaling_of_useless_directions():
    z = random_images(7)
    direction = torch.zeros_like(z)
    direction[1] = float("nan")
    direction[2] = 1.0
    point, saturated = scale_to_budget(z, direction, torch.tensor([1.0, 1.0, 0.0]), *cube())
    assert torch.equal(point, z)
    assert saturated.tolist() == [True, True, False]
