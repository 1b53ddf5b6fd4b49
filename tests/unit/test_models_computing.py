"""In which precision networks compute: on which devices, in what, and what it does to features, votes and attacks."""

import argparse
import io

import pytest
import torch

from nndefense.config import load_config
from nndefense.core import devices
from nndefense.core.command import Job
from nndefense.flow.models import computing_values
from nndefense.models.computing import SINGLE, Computing, computing_of
from nndefense.models.standardize import Standardized
from tests.unit import device_cases as cases
from tests.unit.adaptive_cases import LIGHT, every_climber
from tests.unit.attack_cases import make_attack, run, trained_net
from tests.unit.config_cases import SMALL
from tests.unit.device_cases import WAYS, World

BF16 = Computing("bf16")


@pytest.fixture(scope="module")
def world():
    return World.make()


@pytest.fixture
def without_bf16(monkeypatch):
    """A CPU that has no instructions for bfloat16."""
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: False)


@pytest.fixture
def with_bf16(monkeypatch):
    """A CPU that has them. Others compute the same, slowly."""
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)


@pytest.mark.parametrize("way", ["tf32", "compiled bf16"])
def test_nothing_changes_on_a_cpu_without_bf16(world, without_bf16, way):
    expected, softmax = world.features(world.queries, "cpu", SINGLE)
    found, rows = world.features(world.queries, "cpu", WAYS[way])
    assert rows.tobytes() == softmax.tobytes()
    assert all(found[layer].tobytes() == values.tobytes() for layer, values in expected.items())
    attacked, others = (world.attacked("cpu", one) for one in (SINGLE, WAYS[way]))
    assert all(others[name].tobytes() == values.tobytes() for name, values in attacked.items())


def test_a_cpu_with_bf16_lowers_features_and_gradients_where_that_is_asked_for(world, with_bf16):
    assert WAYS["tf32"].on("cpu") == "exact"
    _, rows = cases.check_features(world, "bf16", "cpu")
    assert rows.tobytes() != world.features(world.queries, "cpu", SINGLE)[1].tobytes()
    cases.check_votes(world, "bf16", "cpu")
    cases.check_attack(world, "bf16", "cpu")
    expected, found = (world.attacked("cpu", one) for one in (SINGLE, Computing("bf16")))
    assert found["loss_before"].tobytes() == expected["loss_before"].tobytes()
    assert found["images"].tobytes() != expected["images"].tobytes()


@pytest.mark.parametrize(
    ("precision", "device", "has_bf16", "expected"),
    [
        ("bf16", "cpu", True, "bf16"),
        ("bf16", "cpu", False, "exact"),
        ("tf32", "cpu", True, "exact"),
        ("bf16", "mps", True, "exact"),
        ("bf16", "cuda:1", False, "bf16"),
        ("tf32", "cuda", False, "tf32"),
        ("exact", "cuda", True, "exact"),
    ],
)
def test_a_precision_is_that_of_the_device(monkeypatch, precision, device, has_bf16, expected):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: has_bf16)
    assert Computing(precision).on(device) == Computing(precision).on(torch.device(device)) == expected


@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("instructions", [True, False, None])
def test_a_cpu_has_bf16_where_torch_uses_its_instructions(monkeypatch, instructions, library):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: library)
    # A torch that cannot tell.
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    if instructions is not None:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions, raising=False)
    assert devices.cpu_has_bf16() == bool(instructions and library)


@pytest.mark.parametrize(
    ("precision", "has_bf16", "said"),
    [("exact", True, ""), ("bf16", True, "in bf16 where bf16 is"), ("bf16", False, "in exact where bf16 is")],
)
def test_a_job_says_what_it_computes_in(monkeypatch, precision, has_bf16, said):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: has_bf16)
    log = io.StringIO()
    arguments = argparse.Namespace(precision=precision, compile=True)
    assert computing_of(arguments, Job(log, 0, 1)) == Computing(precision, True)
    assert log.getvalue() == (f"networks compute {said} wanted\n" if said else "")


@every_climber
def test_attacks_break_as_much_in_a_lower_precision(name, with_bf16):
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


def test_attacks_may_have_a_precision_of_their_own():
    config = load_config(SMALL | {"attacks": SMALL["attacks"] | {"precision": "bf16"}})
    assert computing_values(config) == {}
    assert computing_values(config, attacks=True) == {"precision": "bf16"}
    config = load_config(SMALL | {"attacks": SMALL["attacks"] | {"precision": "exact"}, "precision": "tf32"})
    assert computing_values(config) == {"precision": "tf32"}
    assert computing_values(config, attacks=True) == {}
