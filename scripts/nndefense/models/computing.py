"""How networks compute on a GPU. On the CPU nothing of this applies, and results keep their bytes.

    exact   single precision; products of convolutions, too, which GPUs would round by themselves
    tf32    factors of products have 10 bits behind the point instead of 23
    bf16    convolutions and linear layers of networks in bfloat16, which has 7; what follows them in single precision

A lower precision is for features of images, and for gradients that attacks follow. It is asked for around a piece of
code (`Computing.lowered`), and networks obey; what attacks decide by is asked for without, in single precision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nndefense.core import devices

Precision = Literal["exact", "tf32", "bf16"]

# What compiles. Tests take one that makes no machine code.
BACKEND = "inductor"

_precision: ContextVar[Precision] = ContextVar("precision", default="exact")


@dataclass(frozen=True)
class Computing:
    """How a job computes.

    Attributes:
        precision: of features and of gradients.
        compiles: whether `torch.compile` joins the operations of networks; the last bits differ.
    """

    precision: Precision = "exact"
    compiles: bool = False

    @contextmanager
    def lowered(self, device: str | torch.device) -> Iterator[None]:
        """Networks that are asked inside compute in this precision, where the device is a GPU."""
        token = _precision.set(self.precision if devices.accelerated(device) else "exact")
        try:
            yield
        finally:
            _precision.reset(token)

    @contextmanager
    def backward(self, device: str | torch.device) -> Iterator[None]:
        """For a backward pass, of networks that were asked within `lowered`."""
        # One in bf16 has the types of its forward pass.
        with devices.products("tf32" if self.precision == "tf32" and devices.accelerated(device) else None):
            yield

    def compiled(self, network: nn.Module, device: str | torch.device) -> Any:
        """The network, compiled where that is wanted and the device is a GPU; weights are shared.

        Hooks that are registered later are not called.
        """
        if not self.compiles or not devices.accelerated(device):
            return network
        return torch.compile(network, backend=BACKEND)


SINGLE = Computing()


def asked(network: nn.Module, points: Tensor) -> Any:
    """What a network says of standardised images (B, 3, H, W), in the precision that is asked for around.

    A tensor that a lower precision left in bf16 is returned in single precision.
    """
    precision = _precision.get()
    if precision == "exact":
        return network(points)
    if precision == "tf32":
        with devices.products("tf32"):
            return network(points)
    with torch.autocast(points.device.type, torch.bfloat16):
        found = network(points)
    return found.float() if isinstance(found, Tensor) else found
