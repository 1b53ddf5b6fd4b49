"""Codes against SPORCO, dense matrices, bounds from the dual problem, and images made of known filters."""

import numpy as np
import pytest
import torch
from sporco.admm.cbpdn import ConvBPDN

from nndefense.core.errors import ConfigError, InputError
from nndefense.dictionaries import admm, coding
from nndefense.dictionaries.coding import METHODS, code, evaluate, unroll
from nndefense.dictionaries.spectrum import reconstruct, transform_filters
from nndefense.dictionaries.split import split
from tests.unit.dictionary_cases import convolved, dictionary, pictures, random_filters

BOTH = pytest.mark.parametrize("method", METHODS)
TIGHT = {"iterations": 4000, "tolerance": 1e-9}


def bands(count=4, height=20, width=18, seed=0, dtype=torch.float32):
    return split(pictures(count, height, width, seed, dtype), 5.0)[1]


def by_sporco(high, filters, sparsity, tolerance):
    """SPORCO's least objective, one image after the other."""
    options = {"MaxMainIter": 2000, "RelStopTol": tolerance, "AutoRho": {"Enabled": True}, "AuxVarObj": True}
    found = []
    for band in high.permute(0, 2, 3, 1).double().numpy():
        solver = ConvBPDN(filters.permute(2, 3, 1, 0).double().numpy(), band, sparsity, ConvBPDN.Options(options))
        maps = solver.solve()
        assert maps.shape[2:4] == (1, 1), "one set of maps for all channels"
        found.append(solver.getitstat().ObjFun[-1])
    return np.array(found)


def duality_gap(high, maps, spectrum, sparsity):
    """What the objective of the maps is above its minimum at most, as a share of it, (B,)."""
    rest = spectrum.analyse(high) - spectrum.show(maps)
    feasible = rest * (sparsity / spectrum.correlate(rest).abs().amax(dim=(1, 2, 3)))[:, None, None, None].clamp(max=1)
    bound = spectrum.energy(spectrum.analyse(high)) - spectrum.energy(spectrum.analyse(high) - feasible)
    value = evaluate(high, maps, spectrum, sparsity)
    return (value - bound) / value


@BOTH
@pytest.mark.parametrize(("height", "width", "sparsity"), [(20, 18, 0.05), (15, 21, 0.2)])
def test_objective_is_that_of_sporco(method, height, width, sparsity):
    high, filters = bands(3, height, width), random_filters()
    expected = by_sporco(high, filters, sparsity, 1e-5)
    spectrum = transform_filters(filters, height, width)
    found = code(high, spectrum, sparsity, method=method)
    np.testing.assert_allclose(found.objectives[:, -1], expected, rtol=0.01)
    exact = transform_filters(filters.double(), height, width)
    found = code(high.double(), exact, sparsity, method=method, **TIGHT)
    np.testing.assert_allclose(found.objectives[:, -1], expected, rtol=1e-4)


@BOTH
def test_no_maps_are_much_better(method):
    high, spectrum = bands(dtype=torch.float64), dictionary(dtype=torch.float64)
    found = code(high, spectrum, 0.05, method=method, **TIGHT)
    assert duality_gap(high, found.maps, spectrum, 0.05).max() < 5e-4
    rough = code(high, spectrum, 0.05, method=method, tolerance=1e-3)
    excess = rough.objectives[:, -1] / found.objectives[:, -1] - 1
    assert (excess >= -1e-8).all()
    assert excess.max() < 0.01


@BOTH
def test_objective_is_that_of_its_maps_by_the_formula(method):
    high, filters = bands(), random_filters()
    found = code(high, transform_filters(filters, 20, 18), 0.05, method=method)
    maps = found.maps.double().numpy()
    rest = convolved(maps, filters.numpy()) - high.numpy()
    expected = np.square(rest).sum(axis=(1, 2, 3)) / 2 + 0.05 * np.abs(maps).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found.objectives[:, -1], expected, rtol=1e-4)
    np.testing.assert_allclose(found.objectives[:, 0], np.square(high.numpy()).sum(axis=(1, 2, 3)) / 2, rtol=1e-4)
    np.testing.assert_allclose(evaluate(high, found.maps, dictionary(), 0.05), expected, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(20, 18), (9, 5), (5, 12)])
def test_reconstruction_is_a_sum_of_moved_filters(height, width):
    filters, spectrum = random_filters(), dictionary(height, width)
    maps = torch.randn(2, 8, height, width, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(reconstruct(maps, spectrum), convolved(maps.numpy(), filters.numpy()), atol=1e-4)


def test_correlation_is_the_adjoint_and_the_bound_is_exact():
    spectrum = dictionary(6, 7, dtype=torch.float64, count=5)
    columns = torch.eye(5 * 6 * 7, dtype=torch.float64).view(-1, 5, 6, 7)
    matrix = reconstruct(columns, spectrum).flatten(1).T
    rows = torch.eye(3 * 6 * 7, dtype=torch.float64).view(-1, 3, 6, 7)
    torch.testing.assert_close(spectrum.correlate(spectrum.analyse(rows)).flatten(1), matrix)
    assert spectrum.bound == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)) ** 2, rel=1e-9)
    torch.testing.assert_close(spectrum.synthesise(spectrum.analyse(rows)), rows)


def test_the_objective_of_fista_never_rises_where_plain_momentum_would_raise_it():
    high, spectrum = bands(6, dtype=torch.float64), dictionary(dtype=torch.float64)
    solver = METHODS["fista"](spectrum.analyse(high), spectrum, 0.2)
    values = []
    for _ in range(150):
        solver.step()
        if values:
            # Not taken, a step is followed by one without momentum, which falls.
            stayed = solver.objective() == values[-1]
            assert (solver.pace[stayed] == 1).all()
            assert torch.equal(solver.ahead[stayed], solver.maps()[stayed])
        values.append(solver.objective())
    changes = torch.stack(values).diff(dim=0)
    assert (changes <= 0).all()
    assert (changes[5:] == 0).any(), "steps that were not taken"
    # The same steps without restarts.
    solver, values = METHODS["fista"](spectrum.analyse(high), spectrum, 0.2), []
    for _ in range(150):
        solver.value = torch.full_like(solver.value, torch.inf)
        solver.step()
        values.append(solver.objective())
    assert (torch.stack(values).diff(dim=0) > 1e-9).any()


@BOTH
def test_logged_objectives_fall_and_end_with_the_last(method):
    # Of different contrast, so that they need different numbers of steps.
    high = bands(5) * torch.tensor([1, 0.5, 0.2, 0.1, 0.05])[:, None, None, None]
    found = code(high, dictionary(), 0.05, method=method)
    window = METHODS[method].window
    assert (found.iterations % window == 0).all()
    assert found.objectives.shape[1] == int(found.iterations.max()) // window + 1
    assert len(found.iterations.unique()) > 1
    assert (found.objectives.diff(dim=1) <= 0).all()
    for values, steps in zip(found.objectives, found.iterations, strict=True):
        assert (values[int(steps) // window :] == values[-1]).all()
        assert (values[: int(steps) // window - 1] > values[-1]).all()


@BOTH
def test_iterations_are_capped_and_tolerance_counts(method):
    high, spectrum = bands(), dictionary()
    steps = [code(high, spectrum, 0.05, method=method, tolerance=t).iterations.sum() for t in (1e-1, 1e-2, 1e-4)]
    assert steps[0] < steps[1] < steps[2]
    found = code(high, spectrum, 0.05, method=method, tolerance=0.0, iterations=13)
    assert found.iterations.tolist() == [13] * 4
    torch.testing.assert_close(found.objectives[:, -1], evaluate(high, found.maps, spectrum, 0.05))


@BOTH
def test_support_of_an_image_made_of_known_filters_is_found(method):
    random = np.random.default_rng(0)
    maps = np.zeros((2, 8, 20, 18), dtype=np.float32)
    for image in maps:
        # Far apart, so that they do not overlap.
        for row in (1, 8, 14):
            for column in (2, 10):
                image[random.integers(8), row, column] = random.choice([-1, 1]) * random.uniform(0.5, 1)
    high = torch.from_numpy(convolved(maps, random_filters().numpy()).astype(np.float32))
    found = code(high, dictionary(), 0.02, method=method, tolerance=1e-6, iterations=3000).maps.numpy()
    strong = np.abs(found) > 0.2
    np.testing.assert_array_equal(strong, maps != 0)
    np.testing.assert_allclose(found[strong], maps[strong], atol=0.1)


@BOTH
def test_much_sparsity_leaves_nothing_and_little_leaves_all(method):
    high, spectrum = bands(), dictionary()
    largest = float(spectrum.correlate(spectrum.analyse(high)).abs().max())
    found = code(high, spectrum, 2 * largest, method=method)
    assert not found.maps.any()
    assert code(high, spectrum, 0.5 * largest, method=method).maps.any()
    found = code(high, spectrum, 1e-5, method=method, tolerance=1e-4, iterations=3000)
    assert (reconstruct(found.maps, spectrum) - high).abs().max() < 0.01


@BOTH
def test_images_do_not_depend_on_each_other(method, monkeypatch):
    contrast = torch.tensor([1, 0.2, 0.8, 0.3, 0.6, 0.25, 0.4])
    high, spectrum = bands(7) * contrast[:, None, None, None], dictionary()
    together = code(high, spectrum, 0.05, method=method, tolerance=1e-4)
    for place in range(7):
        alone = code(high[place : place + 1], spectrum, 0.05, method=method, tolerance=1e-4)
        assert alone.iterations == together.iterations[place]
        torch.testing.assert_close(alone.maps[0], together.maps[place], atol=1e-6, rtol=0)
        assert alone.objectives[0, -1] == pytest.approx(float(together.objectives[place, -1]), rel=1e-6)
    monkeypatch.setitem(coding.CHUNK, "cpu", 3 * 8 * 20 * 18)
    parts = code(high, spectrum, 0.05, method=method, tolerance=1e-4)
    assert torch.equal(parts.iterations, together.iterations)
    torch.testing.assert_close(parts.maps, together.maps, atol=1e-6, rtol=0)


@BOTH
def test_contrast_and_sparsity_scale_together(method):
    high, spectrum = bands(), dictionary()
    one, other = (code(scale * high, spectrum, scale * 0.05, method=method) for scale in (1.0, 1 / 64))
    assert torch.equal(one.iterations, other.iterations)
    torch.testing.assert_close(other.maps * 64, one.maps, atol=1e-6, rtol=0)


def test_a_bad_scale_costs_admm_steps_but_does_not_stop_it_early(monkeypatch):
    """Sparse maps may stay at zero for many steps, in which the objective does not change."""
    high, spectrum = bands(), dictionary()
    expected = code(high, spectrum, 0.05, tolerance=1e-6, iterations=2000).objectives[:, -1]
    for scale in (0.02, 20.0):
        monkeypatch.setattr(admm, "SCALE", scale)
        found = code(high, spectrum, 0.05, method="admm", iterations=2000)
        assert found.iterations.min() > 40
        torch.testing.assert_close(found.objectives[:, -1], expected, rtol=0.01, atol=0)


@BOTH
def test_flat_bands_and_no_images_are_no_exception(method):
    spectrum = dictionary()
    found = code(torch.zeros(2, 3, 20, 18), spectrum, 0.05, method=method)
    assert not found.maps.any()
    assert found.objectives[:, -1].tolist() == [0, 0]
    assert code(torch.zeros(0, 3, 20, 18), spectrum, 0.05, method=method).maps.shape == (0, 8, 20, 18)


@BOTH
def test_unrolled_steps_are_those_of_the_solver(method):
    high, spectrum = bands(), dictionary()
    for iterations in (1, 7, 12):
        solved = code(high, spectrum, 0.05, method=method, iterations=iterations, tolerance=0.0)
        unrolled = unroll(high, spectrum, 0.05, method=method, iterations=iterations)
        torch.testing.assert_close(unrolled, solved.maps, atol=1e-6, rtol=0)


@BOTH
def test_gradients_flow_through_unrolled_steps(method):
    high = bands(2, 6, 7, dtype=torch.float64).requires_grad_()
    spectrum = dictionary(6, 7, dtype=torch.float64, count=3, size=3)
    assert torch.autograd.gradcheck(lambda band: unroll(band, spectrum, 0.02, method=method, iterations=6), high)
    (slope,) = torch.autograd.grad(unroll(high, spectrum, 0.02, method=method, iterations=6).abs().sum(), high)
    assert slope.abs().sum() > 0
    flat = torch.zeros(1, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(unroll(flat, spectrum, 0.02, method=method).sum(), flat)
    assert slope.isfinite().all()


def test_few_steps_of_admm_come_closer_than_as_many_of_fista():
    """With filters as alike as learnt ones are."""
    high, spectrum = bands(), dictionary(count=32)
    found = [unroll(high, spectrum, 0.05, method=name, iterations=20) for name in ("admm", "fista")]
    values = [evaluate(high, maps, spectrum, 0.05) for maps in found]
    assert (values[0] < 0.99 * values[1]).all()


def test_bad_arguments_are_named():
    high, spectrum = bands(1), dictionary()
    for options, error, words in (
        ({"method": "ista"}, ConfigError, "method 'ista'"),
        ({"sparsity": 0.0}, ConfigError, "sparsity is 0"),
        ({"sparsity": float("nan")}, ConfigError, "sparsity is nan"),
        ({"iterations": 0}, ConfigError, "iterations is 0"),
        ({"tolerance": -1.0}, ConfigError, "tolerance is -1"),
        ({"high": high[..., 1:]}, InputError, "coding needs"),
        ({"high": high.double()}, InputError, "float64"),
    ):
        with pytest.raises(error, match=words):
            code(**({"high": high, "spectrum": spectrum, "sparsity": 0.1} | options))
    with pytest.raises(InputError, match="do not fit into images of 4 x 9"):
        dictionary(4, 9)
    for value in (torch.nan, 0.0):
        with pytest.raises(InputError, match="finite filters that are not all 0"):
            transform_filters(torch.full((1, 3, 5, 5), value), 9, 9)
    with pytest.raises(InputError, match="dictionary needs filters"):
        transform_filters(torch.ones(1, 3, 5, 5, dtype=torch.uint8), 9, 9)
