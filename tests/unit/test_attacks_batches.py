"""A whole query set in batches and at several budgets, and the two readings of a budget."""

import numpy as np
import pytest
import torch

from nndefense.attacks import base
from nndefense.attacks.batches import attack_in_batches, summarize
from nndefense.axes.ball import BALLS, LINF, RAW
from nndefense.models.build import build_model, freeze
from tests.unit.attack_cases import make_attack

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def clean() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.uniform(0.3, 0.7, (24, 3, 16, 16)) * generator.uniform(0.3, 1, (24, 1, 1, 1))
    images[5] = 0
    return {"images": images.astype(np.float32), "labels": np.arange(24) % 4, "rows": np.arange(24)}


@pytest.fixture(scope="module")
def model():
    return freeze(build_model("cifar_resnet8", 4, MEAN, STD))


def pack(model, clean, name="fgsm", epsilons=(0.05,), ball=RAW, batch=24, attack=None, **more):
    """The arrays of a pack."""
    defaults = {"context": lambda rows: {}, "on_batch": lambda result: None, "statistics": (MEAN, STD), "seed": 1}
    made = make_attack(name, **(attack or {}))
    return attack_in_batches(made, model, clean, epsilons=epsilons, ball=ball, batch=batch, **(defaults | more))


def attacked(model, clean, name="fgsm", space="raw01", **more):
    """The arrays of a pack of one budget, 0.05."""
    found = pack(model, clean, name, ball=BALLS[space], **more)
    return {key.removeprefix("0.05/"): values for key, values in found.items()}


def lengths(clean, result, space) -> torch.Tensor:
    change = torch.from_numpy(result["images"] - clean["images"]).double()
    if space == "standardized":
        change = change / torch.tensor(STD).view(1, 3, 1, 1)
    return change.flatten(1).norm(dim=1)


@pytest.mark.parametrize("space", ["raw01", "standardized"])
def test_dataset_mean_gives_one_radius_whose_mean_distance_is_epsilon(model, clean, space):
    result = attacked(model, clean, space=space, budget="dataset_mean")
    moved = lengths(clean, result, space) > 0
    # The black image has no distance in units of its own norm; standardised, it is an image like any other.
    assert (~moved).nonzero().flatten().tolist() == ([5] if space == "raw01" else [])
    free = torch.from_numpy(~result["saturated"]) & moved
    assert free.sum() >= 20
    torch.testing.assert_close(lengths(clean, result, space)[free].std(), torch.tensor(0.0).double(), atol=1e-5, rtol=0)
    delta = result[f"delta_{space}"][moved.numpy()]
    assert delta.mean() == pytest.approx(0.05, rel=2e-3)
    assert delta.max() > 0.06


def test_per_image_gives_every_image_its_own_radius(model, clean):
    result = attacked(model, clean)
    np.testing.assert_allclose(np.delete(result["delta_raw01"], 5), 0.05, rtol=1e-5)


@pytest.mark.parametrize("budget", ["per_image", "dataset_mean"])
def test_the_batch_split_does_not_matter(model, clean, budget):
    whole, parts = (attacked(model, clean, "pgd", batch=batch, budget=budget) for batch in (24, 7))
    # Sums within a batched convolution may differ in the last digit, which turns a few signs of tiny gradients.
    assert np.mean(np.abs(whole["images"] - parts["images"]) > 1e-5) < 0.01
    np.testing.assert_allclose(whole["delta_raw01"], parts["delta_raw01"], atol=1e-3)


@pytest.mark.parametrize("ball", BALLS.values(), ids=str)
def test_a_pack_holds_what_its_budgets_give_one_by_one(model, clean, ball):
    epsilons = (0.02, 0.1, 1.0)
    together = pack(model, clean, "pgd", epsilons, ball, batch=10)
    names = ("images", "loss_before", "loss_after", "saturated", "idle", *(f"delta_{one}" for one in BALLS))
    assert set(together) == {"labels", "rows"} | {
        f"{member}/{name}" for member in ("0.02", "0.1", "1") for name in names
    }
    for epsilon in epsilons:
        alone = pack(model, clean, "pgd", (epsilon,), ball, batch=10)
        for name, values in alone.items():
            np.testing.assert_array_equal(together[name], values)
    assert together["1/images"].shape == clean["images"].shape
    assert together["1/images"].dtype == np.float32
    assert together["1/delta_linf"].dtype == np.float64


def test_in_the_cube_all_images_have_one_radius_anyway(model, clean):
    one, other = (pack(model, clean, "pgd", ball=LINF, budget=budget) for budget in ("per_image", "dataset_mean"))
    np.testing.assert_array_equal(one["0.05/images"], other["0.05/images"])
    np.testing.assert_allclose(one["0.05/delta_linf"], 0.05, rtol=1e-5)


def test_context_is_asked_for_every_batch_and_batches_are_told(model, clean):
    asked, told = [], []
    pack(
        model, clean, epsilons=(0.1, 0.2), batch=10, context=lambda rows: asked.append(rows) or {}, on_batch=told.append
    )
    assert [(rows.start, rows.stop) for rows in asked] == [(0, 10), (10, 20), (20, 24)]
    assert [len(result.images) for result in told] == [10, 10, 10, 10, 4, 4]
    assert all(isinstance(result, base.AttackResult) for result in told)


def test_batches_are_halved_where_memory_runs_out(model, clean):
    class Small:
        """A bound defence that takes up to 6 images."""

        def __init__(self):
            self.model = model

        def surrogate(self, images, *, rows, seed, draws=1):
            if len(images) > 6:
                raise MemoryError
            return self.model(images)

    halved, whole = pack(Small(), clean, epsilons=(0.02, 0.05)), pack(model, clean, batch=6, epsilons=(0.02, 0.05))
    for name, values in whole.items():
        np.testing.assert_array_equal(halved[name], values)


def test_summary_tells_distance_and_loss(model, clean):
    found = pack(model, clean, ball=LINF)
    assert summarize(found, LINF, 0.05).startswith("delta (linf) mean 0.05000, largest 0.05000, budget 0.05; loss ")
