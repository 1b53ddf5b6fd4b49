"""Steps against hand-written loops: momentum, and Auto-PGD by the paper and as in torchattacks."""

from fractions import Fraction
from math import ceil, cos, pi, sqrt

import numpy as np
import pytest
import torch

from nndefense.attacks.region import L2Region, region_of
from nndefense.attacks.space import PixelSpace
from nndefense.attacks.steps import APGD, SCHEDULES, Momentum, _checkpoints
from tests.unit.attack_cases import MEAN, STD, Curved, both_l2_balls, draw_images

SIZE = 4
steppers = pytest.mark.parametrize("schedule", SCHEDULES)
directions = pytest.mark.parametrize("direction", ["l2", "sign"])


class Unbounded(L2Region):
    """Steps are those of the radius, but nothing stops them."""

    def project(self, z):
        return z


def region(images, epsilon, kind=L2Region):
    return kind(PixelSpace("raw01"), images, epsilon)


def images_of(count=3):
    """Images (count, 3, SIZE, SIZE) float64 of different norms."""
    images = draw_images(count, SIZE, low=0.4, high=0.6)[0].double()
    return images * torch.linspace(0.3, 1, count).double()[:, None, None, None]


def gradients(steps, count=3, seed=5):
    """Of very different lengths, as those of a network are."""
    draw = torch.Generator().manual_seed(seed)
    found = torch.randn(steps, count, 3, SIZE, SIZE, generator=draw, dtype=torch.float64)
    return found * 10 ** (6 * torch.rand(steps, count, 1, 1, 1, generator=draw, dtype=torch.float64) - 3)


def follow(stepper, where, steps):
    """Points of a stepper that is given these gradients, the start among them, and values that do not matter."""
    points, value = [where.center], torch.zeros(len(where.center))
    for gradient in steps:
        points.append(stepper.next(where, points[-1], gradient, value))
    return points


def lengths(one, other):
    return (other - one).flatten(1).norm(dim=1)


# -- momentum


@directions
@pytest.mark.parametrize("steps", [1, 2, 12])
def test_step_lengths_fall_along_a_cosine_from_the_radius_to_a_twentieth(direction, steps):
    where = region(images_of(), 0.2, Unbounded)
    gradient = gradients(1)[0]
    points = follow(Momentum(steps, direction), where, [gradient] * steps)
    for step in range(steps):
        share = 0.525 + 0.475 * cos(pi * step / (steps - 1)) if steps > 1 else 1
        torch.testing.assert_close(lengths(*points[step : step + 2]), share * where.radius)
    assert len(set(where.radius.tolist())) == 3
    along = gradient.sign() if direction == "sign" else gradient
    cosine = torch.nn.functional.cosine_similarity((points[-1] - points[0]).flatten(1), along.flatten(1))
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


@directions
def test_momentum_sums_unit_gradients(direction):
    steps, where = gradients(9), region(images_of(), 0.2, Unbounded)
    points = follow(Momentum(9, direction), where, steps)
    for place in range(3):
        point, velocity = where.center[place].numpy().ravel(), 0.0
        radius = 0.2 * np.linalg.norm(point)
        for step, gradient in enumerate(steps[:, place].numpy().reshape(9, -1)):
            velocity = 0.75 * velocity + gradient / np.linalg.norm(gradient)
            along = np.sign(velocity) / sqrt(point.size) if direction == "sign" else velocity / np.linalg.norm(velocity)
            point = point + radius * (0.05 + 0.95 * (1 + cos(pi * step / 8)) / 2) * along
            np.testing.assert_allclose(points[step + 1][place].numpy().ravel(), point, rtol=1e-12)


def test_a_zero_gradient_does_not_move_and_does_not_forget():
    where, gradient = region(images_of(), 0.2, Unbounded), gradients(1)[0]
    points = follow(Momentum(3), where, [torch.zeros_like(gradient), gradient, torch.zeros_like(gradient)])
    assert torch.equal(points[1], points[0])
    torch.testing.assert_close(lengths(*points[1:3]), 0.525 * where.radius)
    torch.testing.assert_close(lengths(*points[2:4]), 0.05 * where.radius)


# -- both


@steppers
@directions
@both_l2_balls
def test_every_point_is_within_the_region_and_arguments_are_left_alone(schedule, direction, ball):
    images = draw_images(4, SIZE)[0]
    for epsilon in (0.01, 0.3, 20.0):
        where = region_of(ball, (MEAN, STD), images, epsilon)
        stepper, z = SCHEDULES[schedule](30, direction), where.center
        for step, gradient in enumerate(gradients(30, 4).float()):
            before = z.clone(), gradient.clone()
            value = torch.tensor([step, -step, step % 2, 0.0])
            moved = stepper.next(where, z, gradient, value)
            assert torch.equal(z, before[0])
            assert torch.equal(gradient, before[1])
            z = moved
            assert (lengths(where.center, z) <= where.radius * (1 + 1e-5)).all()
            assert (z >= where.low).all()
            assert (z <= where.high).all()
        assert (lengths(where.center, z) > 0).all()


@steppers
@directions
@pytest.mark.parametrize("left", [0, 1, 9, 23])
def test_some_of_the_images_go_on_as_if_all_were_there(schedule, direction, left):
    where, kept = region(images_of(5), 0.2), torch.tensor([False, True, False, True, True])
    values, steps = torch.rand(30, 5, generator=torch.Generator().manual_seed(0)), gradients(30, 5)
    found = []
    for last in (30, left):
        stepper, z = SCHEDULES[schedule](30, direction), where.center
        for step in range(last):
            z = stepper.next(where, z, steps[step], values[step])
        found.append(z[kept])
    part, z = stepper.at(kept), found.pop()
    for step in range(left, 30):
        z = part.next(where.at(kept), z, steps[step, kept], values[step, kept])
    assert torch.equal(z, found[0])
    assert not torch.equal(z[0], z[1])


# -- Auto-PGD


def paper_checkpoints(steps):
    """w_j = ceil(p_j N) of Croce & Hein 2020, section 3.1, in whole numbers."""
    shares = [Fraction(0), Fraction(22, 100)]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - Fraction(3, 100), Fraction(6, 100)))
    return sorted({ceil(share * steps) for share in shares if share < 1})


@pytest.mark.parametrize("steps", range(1, 201))
def test_checkpoints_are_those_of_the_paper(steps):
    assert _checkpoints(steps) == paper_checkpoints(steps)


def test_checkpoints_of_a_hundred_steps():
    assert _checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]


class Hill:
    """f(x) = -(x - top) . A (x - top) / 2, concave."""

    def __init__(self, start, distance, condition, seed):
        rng = np.random.default_rng(seed)
        n = start.size
        turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
        self.matrix = turn @ np.diag(np.geomspace(1, condition, n)) @ turn.T
        away = rng.normal(size=n)
        self.top = start + distance * away / np.linalg.norm(away)

    def value(self, x):
        return -0.5 * (x - self.top) @ self.matrix @ (x - self.top)

    def gradient(self, x):
        return -self.matrix @ (x - self.top)

    def highest(self, start, radius):
        """Its maximum within the radius."""
        if np.linalg.norm(self.top - start) <= radius:
            return 0.0
        low, high = 0.0, 1e6
        pull = self.matrix @ (self.top - start)
        for _ in range(200):
            middle = (low + high) / 2
            moved = np.linalg.solve(self.matrix + middle * np.eye(len(start)), pull)
            low, high = (middle, high) if np.linalg.norm(moved) > radius else (low, middle)
        return self.value(start + moved)


def algorithm_1(hill, start, radius, steps):
    """Auto-PGD on one image: points, and the step length of each step in radii.

    As the authors' code does, a search goes on from the best point right at a checkpoint.
    """

    def project(x):
        norm = np.linalg.norm(x - start)
        return np.clip(start + (x - start) * (min(1, radius / norm) if norm else 1), 0, 1)

    eta, best, top = 2 * radius, start, hill.value(start)
    marks, path, points, used = paper_checkpoints(steps), [start], [start], []
    history, tops, etas = [top], {0: top}, {0: eta}
    for k in range(steps):
        if history[k] > top:
            best, top = path[k], history[k]
        if k in marks[1:]:
            last = marks[marks.index(k) - 1]
            rises = sum(history[i + 1] > history[i] for i in range(last, k))
            tops[k], etas[k] = top, eta
            if rises < 0.75 * (k - last) or (etas[last] == eta and tops[last] == top):
                eta, path[k], history[k] = eta / 2, best, top
        x, gradient = path[k], hill.gradient(path[k])
        z = project(x + eta * gradient / np.linalg.norm(gradient))
        path.append(project(x + 0.75 * (z - x) + 0.25 * (x - path[k - 1])) if k else z)
        points.append(path[-1])
        history.append(hill.value(path[-1]))
        used.append(eta / radius)
    return points, used


def hills(where, seed):
    """A summit far outside the ball, one at its border, and two within."""
    starts = where.center.flatten(1).numpy()
    shapes = zip((4.0, 1.0, 0.6, 0.2), (3.0, 30.0, 10.0, 100.0), strict=True)
    return [
        Hill(start, far * radius, condition, seed + place)
        for place, (start, radius, (far, condition)) in enumerate(
            zip(starts, where.radius.tolist(), shapes, strict=True)
        )
    ]


def climb(stepper, where, slopes, steps):
    """Points (steps + 1, n, d), and their values."""
    z, points = where.center, [where.center]
    for _ in range(steps):
        flat = z.flatten(1).numpy()
        value = torch.tensor([hill.value(x) for hill, x in zip(slopes, flat, strict=True)])
        gradient = np.stack([hill.gradient(x) for hill, x in zip(slopes, flat, strict=True)])
        z = stepper.next(where, z, torch.from_numpy(gradient).view_as(z), value)
        points.append(z)
    found = torch.stack(points).flatten(2).numpy()
    return found, np.array([[hill.value(x) for hill, x in zip(slopes, row, strict=True)] for row in found])


@pytest.mark.parametrize("steps", [1, 7, 25, 40, 100])
@pytest.mark.parametrize("seed", [0, 10])
def test_apgd_goes_the_way_of_algorithm_1(steps, seed):
    where = region(images_of(4), 0.3)
    slopes, stepper = hills(where, seed), APGD(steps)
    points, _ = climb(stepper, where, slopes, steps)
    for place, hill in enumerate(slopes):
        expected, used = algorithm_1(hill, points[0, place], where.radius[place].item(), steps)
        np.testing.assert_allclose(points[:, place], np.stack(expected), rtol=1e-6)
        # Where the summit is outside, the border's highest point is reached, and rounding says whether it still rises.
        if place >= 2:
            assert stepper.scale[place] == used[-1]
            assert used[-1] <= (1 if steps >= 25 else 2)


def test_a_step_is_halved_where_the_best_stands_still_unless_it_just_was():
    """Values rise nearly all the time, and that alone halves no step."""
    first = torch.stack([torch.arange(23.0), -torch.arange(23.0), torch.arange(23.0)])
    later = torch.arange(19.0).expand(3, -1) - torch.tensor([[100.0], [100.0], [0.0]]) + 10
    values = torch.cat([first, later], dim=1)
    where, stepper, gradient = region(images_of(), 0.2), APGD(100), gradients(1)[0]
    z, scales = where.center, []
    for step in range(42):
        z = stepper.next(where, z, gradient, values[:, step])
        scales.append(stepper.scale.tolist())
    assert scales[21] == [2, 2, 2]
    # The second fell; now it rises, and is not halved again at once.
    assert scales[22] == scales[40] == [2, 1, 2]
    assert scales[41] == [1, 1, 2]


def test_apgd_finds_the_summit_and_momentum_does_not_come_nearer():
    where = region(images_of(4), 0.3)
    slopes = hills(where, 3)
    (_, ours), (_, momentum) = (climb(stepper(100), where, slopes, 100) for stepper in (APGD, Momentum))
    start, found = ours[0], ours.max(axis=0)
    highest = [
        hill.highest(x, radius)
        for hill, x, radius in zip(slopes, where.center.flatten(1).numpy(), where.radius.tolist(), strict=True)
    ]
    left = (highest - found) / (highest - start)
    assert (left >= -1e-9).all()
    assert (left < 0.01).all()
    assert (found >= momentum.max(axis=0) - 0.01 * (highest - start)).all()


def region_of_radius(images, radius):
    return L2Region(PixelSpace("raw01", budget_norm=1.0), images, radius)


def test_apgd_is_that_of_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    model, images = Curved(SIZE).double().eval(), images_of(6)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    attack = torchattacks.APGD(model, norm="L2", eps=0.4, steps=100, loss="ce")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = attack.attack_single_run(images, labels)[2]
        torch.manual_seed(0)
        start = torch.randn(images.shape)
    start = (images + 0.4 * start / start.flatten(1).norm(dim=1)[:, None, None, None]).clamp(0, 1)
    where = region_of_radius(images, 0.4)
    stepper, z, best = APGD(100), start.double(), torch.full((6,), -torch.inf, dtype=torch.float64)
    for step in range(101):
        point = z.detach().requires_grad_()
        value = torch.nn.functional.cross_entropy(model(point), labels, reduction="none")
        best = best.maximum(value.detach())
        if step < 100:
            z = stepper.next(where, z, torch.autograd.grad(value.sum(), point)[0], value.detach())
    torch.testing.assert_close(best, theirs.double(), rtol=1e-6, atol=0)
    assert (stepper.scale < 2).any()
