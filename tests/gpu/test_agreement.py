"""What a GPU computes is what the CPU does, within the tolerances of `tests/unit/device_cases.py`."""

import faiss
import numpy as np
import pytest
import torch

from nndefense.attacks.base import value_and_gradient
from nndefense.database.engines.on_gpu import has_gpus, on_device
from nndefense.models.computing import Computing
from nndefense.models.transfer import ahead
from tests.unit import device_cases as cases
from tests.unit.device_cases import WAYS


@pytest.mark.parametrize("way", WAYS)
def test_features_agree(world, device, way):
    cases.check_features(world, way, device)


@pytest.mark.parametrize("way", WAYS)
def test_votes_agree(world, device, way):
    print(f"{way}: {cases.check_votes(world, way, device):.4f} of {len(world.labels)} votes changed")


@pytest.mark.parametrize("way", WAYS)
def test_attacks_are_as_strong(world, device, way):
    left, here = cases.check_attack(world, way, device)
    print(f"{way}: {here:.3f} of images hold, {left:.3f} on the CPU")


def test_products_of_jobs_are_in_single_precision(world, device):
    """Those of convolutions, too, which torch rounds by itself."""
    images, model = cases.to_tensor(world.queries[:50]), world.model.cpu()
    values = {}
    for place, computing in (("cpu", Computing()), (device, Computing()), (f"{device}:0", Computing("tf32"))):
        model.to(place)
        _, gradient = value_and_gradient(lambda points: model(points)[:, 0], images.to(place), computing)
        values[place] = gradient.cpu()
    scale = values["cpu"].abs().max()
    assert (values[device] - values["cpu"]).abs().max() < 1e-4 * scale
    rounded = (values[f"{device}:0"] - values["cpu"]).abs().max() / scale
    print(f"gradients by TF32 products are {rounded:.1e} of the largest away")


def test_many_blocks_arrive_whole_and_in_order(device):
    """While work on the block before is still to be done."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 64, 64, 3), dtype=np.uint8)
    blocks = ((slice(place, place + 1), one.copy(), {}) for place, one in enumerate(images))
    busy, sums = torch.rand(2000, 2000, device=device), []
    for _, sent, _ in ahead(blocks, device):
        assert sent.is_cuda
        busy = (busy @ busy).clamp(0, 1)
        sums.append(sent.sum(dtype=torch.int64).item())
    assert sums == images.reshape(40, -1).sum(axis=1, dtype=np.int64).tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_codes_have_the_neighbours_that_faiss_finds(device, dtype):
    cases.check_exact_search(device, dtype)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8"])
def test_inverted_files_have_the_neighbours_of_the_cpu(device, factory):
    if not has_gpus():
        pytest.skip("this FAISS was built without GPUs: pip install faiss-gpu in place of faiss-cpu")
    trained = cases.train(cases.normal(1000, 32, seed=2), factory)
    index = faiss.deserialize_index(np.frombuffer(trained, np.uint8))
    assert on_device(index, 30, 3, device) is not None
    cases.check_inverted_file(device, factory, tolerance=1e-4)
