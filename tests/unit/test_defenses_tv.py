"""TV minimisation against scikit-image, ART, a dense solver, a primal-dual solver, and what must hold for any image."""

import numpy as np
import pytest
import torch
from art.defences.preprocessor import TotalVarMin
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_bregman

from nndefense.core.errors import InputError
from nndefense.defenses import tv_minimization
from nndefense.defenses.tv_minimization import (
    TVMinimization,
    keep_mask,
    minimize_tv,
    objective,
    total_variation,
)

WEIGHT = 0.03
CONVERGED = {"tolerance": 1e-6, "iterations": 1500}


def pictures(count=2, height=24, width=24, seed=0, noise=0.1):
    """Images of soft stripes with noise, (count, 3, height, width)."""
    draw = torch.Generator().manual_seed(seed)
    phase, pitch = torch.rand(2, count, 3, 1, 1, generator=draw)
    waves = torch.arange(height)[:, None] * pitch + torch.arange(width) * (1 - pitch) + 6 * phase
    return (0.5 + 0.3 * waves.sin().sign() + noise * torch.randn(waves.shape, generator=draw)).clamp(0, 1)


def kept_half(images, seed=0, drop=0.5):
    return keep_mask(images.shape, drop, torch.arange(len(images)), seed)


def everything(images):
    return torch.ones_like(images, dtype=torch.bool)


def primal_dual(image, kept, weight, steps=2500):
    """Chambolle & Pock 2011, algorithm 1, on one channel (H, W)."""
    x, m = image.double().numpy(), kept.numpy()
    z, dual, step = x * m, np.zeros((2, *x.shape)), 0.35
    forward = z
    for _ in range(steps):
        dual[0, :, :-1] += step * np.diff(forward, axis=1)
        dual[1, :-1] += step * np.diff(forward, axis=0)
        dual /= np.maximum(1, np.sqrt((dual**2).sum(0)) / weight)
        flow = dual.sum(0)
        flow[:, 1:] -= dual[0, :, :-1]
        flow[1:] -= dual[1, :-1]
        new = (z + step * flow + step * m * x) / (1 + step * m)
        forward, z = 2 * new - z, new
    return z


@pytest.mark.parametrize(("height", "width"), [(7, 5), (6, 9), (2, 2), (8, 8)])
def test_least_objective_is_that_of_a_primal_dual_solver(height, width):
    images = pictures(2, height, width)
    kept = kept_half(images)
    found = minimize_tv(images, kept, tv_weight=WEIGHT, **CONVERGED)
    other = torch.stack(
        [
            torch.stack([torch.from_numpy(primal_dual(*plane, WEIGHT)) for plane in zip(image, mask, strict=True)])
            for image, mask in zip(images, kept, strict=True)
        ]
    )
    torch.testing.assert_close(
        objective(images, found, kept, WEIGHT), objective(images, other, kept, WEIGHT), rtol=2e-3, atol=1e-6
    )


def test_sweeps_solve_the_linear_system():
    images = pictures(1, 5, 6)
    kept = kept_half(images)
    found = minimize_tv(images, kept, iterations=1, sweeps=400)
    for plane, mask, x in zip(found[0], kept[0].double().numpy(), images[0].double().numpy(), strict=True):
        matrix = np.diag(mask.ravel())
        for place in np.ndindex(5, 6):
            for step in ((0, 1), (1, 0)):
                beside = (place[0] + step[0], place[1] + step[1])
                if beside[0] < 5 and beside[1] < 6:
                    a, b = np.ravel_multi_index(np.transpose([place, beside]), (5, 6))
                    matrix[[a, b], [a, b]] += 2
                    matrix[[a, b], [b, a]] -= 2
        np.testing.assert_allclose(plane.numpy().ravel(), np.linalg.solve(matrix, (mask * x).ravel()), atol=1e-5)


def scikit_image(images):
    planes = images.permute(0, 2, 3, 1).double().numpy()
    found = [denoise_tv_bregman(x, 1 / WEIGHT, max_num_iter=3000, eps=1e-8, channel_axis=-1) for x in planes]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def test_without_drops_the_middle_is_that_of_scikit_image():
    """It holds pixels beyond the border at the noisy image's, so only the middle, 8 pixels inside, must agree."""
    images = pictures(height=32, width=33)
    middle = (..., slice(8, -8), slice(8, -8))
    expected = scikit_image(images)[middle].float()
    smooth = minimize_tv(images, everything(images), shrinkage="smooth", **CONVERGED)[middle]
    assert (smooth - expected).abs().max() < 3e-4
    # Its shrinkage is not that of the total variation, so the exact one differs, by less than the noise.
    exact = minimize_tv(images, everything(images), **CONVERGED)[middle]
    assert 1e-3 < (exact - expected).abs().mean() < 1e-2
    assert (images[middle] - expected).abs().mean() > 0.03


def test_without_drops_no_worse_than_scikit_image():
    images = pictures()
    found = minimize_tv(images, everything(images), **CONVERGED)
    values = [objective(images, result, everything(images), WEIGHT) for result in (found, scikit_image(images))]
    assert (values[0] < values[1]).all()


@pytest.mark.parametrize("options", [{}, {"tolerance": 1e-4}], ids=["default", "converged"])
def test_no_worse_than_art(options):
    """ART's objective is a near relative: the root of the squares, and norms of whole rows for the variation."""
    images = pictures(3, 12, 12)
    art = TotalVarMin(prob=0.5, norm=2, lamb=WEIGHT, max_iter=200)
    np.random.seed(0)  # noqa: NPY002  ART draws its mask from the global generator.
    masks = [np.random.rand(12, 12, 3) < 0.5 for _ in images]  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    theirs = torch.from_numpy(art(images.permute(0, 2, 3, 1).numpy())[0]).permute(0, 3, 1, 2)
    kept = torch.from_numpy(np.stack(masks)).permute(0, 3, 1, 2)
    ours = minimize_tv(images, kept, tv_weight=WEIGHT, **options)
    assert (objective(images, ours, kept, WEIGHT) <= objective(images, theirs, kept, WEIGHT) * 1.02).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    weight=st.sampled_from([1e-3, 0.03, 0.3]),
    noise=st.sampled_from([0.0, 0.02, 0.5]),
    shrinkage=st.sampled_from(["exact", "smooth"]),
)
def test_without_drops_total_variation_never_rises(seed, weight, noise, shrinkage):
    """At the minimum; on the way there, blurred diagonal edges can have more."""
    images = pictures(2, 9, 10, seed, noise)
    found = minimize_tv(images, everything(images), tv_weight=weight, shrinkage=shrinkage, **CONVERGED)
    assert (total_variation(found) <= total_variation(images) * (1 + 1e-5)).all()


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_constant_images_are_fixed_points(level):
    images = torch.full((2, 3, 11, 8), level)
    rows = torch.arange(2)
    torch.testing.assert_close(TVMinimization(drop=0).transform(images, rows, 0, {}), images, rtol=0, atol=1e-6)
    found = TVMinimization(drop=0.5, tolerance=1e-7, iterations=500).transform(images, rows, 0, {})
    torch.testing.assert_close(found, images, rtol=0, atol=1e-4)


def test_without_total_variation_kept_pixels_stay():
    images = pictures()
    kept = kept_half(images)
    found = minimize_tv(images, kept, tv_weight=1e-6, tolerance=1e-7, iterations=500)
    torch.testing.assert_close(found[kept], images[kept], rtol=0, atol=1e-3)
    everywhere = minimize_tv(images, everything(images), tv_weight=0.0, tolerance=1e-7, iterations=500)
    torch.testing.assert_close(everywhere, images, rtol=0, atol=1e-4)


def test_total_variation_by_hand():
    image = torch.tensor([[[[0.0, 0.3], [0.4, 1.0]]]])
    assert total_variation(image).item() == pytest.approx(0.5 + 0.7 + 0.6)


def test_mask_drops_each_channel_for_itself():
    kept = keep_mask((50, 3, 32, 32), 0.3, torch.arange(50), 1).double()
    assert kept.mean(dim=(0, 2, 3)).sub(0.7).abs().max() < 5 * (0.21 / 51_200) ** 0.5
    between = torch.corrcoef(kept.permute(1, 0, 2, 3).flatten(1)) - torch.eye(3)
    assert between.abs().max() < 0.02
    assert keep_mask((2, 3, 4, 4), 0.0, torch.arange(2), 1).all()


def test_images_are_solved_for_alone(monkeypatch):
    """Also those that go on when others are done, and with other numbers at once."""
    images = torch.cat([pictures(3, 10, 11), torch.full((1, 3, 10, 11), 0.5), pictures(1, 10, 11, noise=0.6)])
    kept = kept_half(images)
    whole = minimize_tv(images, kept, tolerance=1e-3)
    steps = []
    step = tv_minimization._Solver.step
    monkeypatch.setattr(
        tv_minimization._Solver, "step", lambda self, sweeps: steps.append(self.z.shape[2]) or step(self, sweeps)
    )
    minimize_tv(images, kept, tolerance=1e-3)
    assert min(steps) < 5, "no image was done before the others"
    monkeypatch.setitem(tv_minimization.CHUNK, "cpu", 1)
    assert torch.equal(minimize_tv(images, kept, tolerance=1e-3), whole)


def test_too_small_an_image_is_refused():
    with pytest.raises(InputError, match="2 x 2 at least"):
        minimize_tv(torch.zeros(1, 3, 1, 8), torch.ones(1, 3, 1, 8, dtype=torch.bool))
