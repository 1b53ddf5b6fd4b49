"""A GPU for the tests of this folder (`make test-gpu`); skipped, with the reason, where there is none."""

import pytest
import torch

from nndefense.core import devices
from nndefense.core.devices import visible_gpus
from tests.unit.device_cases import World


@pytest.fixture(scope="session")
def device() -> str:
    """The GPU, in the state in which a job finds it."""
    if not visible_gpus():
        pytest.skip("no GPU: nvidia-smi finds none, or CUDA_VISIBLE_DEVICES names none")
    if not torch.cuda.is_available():
        pytest.skip(f"no CUDA: this torch ({torch.__version__}) cannot use the GPU")
    devices.exact_products()
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}")
    return "cuda"


@pytest.fixture(scope="session")
def world(device: str) -> World:
    """A network that has learnt something on the CPU, and images."""
    return World.make()
