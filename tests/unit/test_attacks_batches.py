"""A whole query set in batches: the batch split does not matter, and the two readings of a budget."""

import numpy as np
import pytest
import torch

from nndefense.attacks.batches import attack_in_batches
from nndefense.attacks.registry import make_attack
from nndefense.attacks.space import PixelSpace
from nndefense.models.build import build_model, freeze

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


def attacked(model, clean, name="fgsm", space="raw01", batch=24, **options):
    return attack_in_batches(
        make_attack(name, **options.pop("attack", {})),
        model,
        clean,
        epsilon=0.05,
        space=PixelSpace(space, MEAN, STD),
        seed=1,
        batch=batch,
        context=lambda rows: {},
        on_batch=lambda result: None,
        **options,
    )


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
