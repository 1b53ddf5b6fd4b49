"""Attacks whose gradients are of a lower precision: what they break, in single precision."""

import pytest
import torch

from nndefense.core import devices
from nndefense.models.computing import SINGLE, Computing
from nndefense.models.standardize import Standardized
from tests.unit.adaptive_cases import LIGHT, every_climber
from tests.unit.attack_cases import make_attack, run, trained_net

BF16 = Computing("bf16")


@pytest.fixture(autouse=True)
def with_bf16(monkeypatch):
    """A CPU that has instructions for it. Others compute the same, slowly."""
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)


@every_climber
def test_attacks_break_as_much_in_a_lower_precision(name):
    net, images, labels = trained_net()
    model = Standardized(net, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).eval()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    context = {"surrogates": [model]}
    left = {}
    for way in (SINGLE, BF16):
        attack = make_attack(name, **LIGHT.get(name, {}))
        found = run(attack, model, images, labels, epsilon=0.06, context=context, computing=way, measure_loss=False)
        with torch.no_grad():
            left[way.precision] = int((model(found.images).argmax(dim=1) == labels).sum())
        assert found.images.dtype == torch.float32
        assert found.delta.max() <= 0.06 * (1 + 1e-5)
    assert left["exact"] < 24
    assert abs(left["bf16"] - left["exact"]) <= 1
