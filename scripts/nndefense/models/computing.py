"""How networks compute: in single precision, or in a lower one on devices that are faster in it.

    exact   single precision; products of convolutions, too, which GPUs would round by themselves
    tf32    factors of products have 10 bits behind the point instead of 23; on GPUs
    bf16    convolutions and linear layers of networks in bfloat16, which has 7, what follows them in single precision;
            on GPUs, and on CPUs with instructions for it

A lower precision is for features of images, and for gradients that attacks follow. It is asked for around a piece of
code (`Computing.lowered`), and networks obey; what attacks decide by is asked for without, in single precision.
"""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nndefense.core import devices
from nndefense.core.command import Job

Precision = Literal["exact", "tf32", "bf16"]

# What compiles. Tests take one that makes no machine code.
BACKEND = "inductor"

_precision: ContextVar[Precision] = ContextVar("precision", default="exact")


@dataclass(frozen=True)
class Computing:
    """How a job computes.

    Attributes:
        precision: of features and of gradients.
        compiles: whether `torch.compile` joins the operations of networks on a GPU; the last bits differ.
    """

    precision: Precision = "exact"
    compiles: bool = False

    def on(self, device: str | torch.device) -> Precision:
        """The precision that a device computes in: "exact" where it would not be faster in the one that is wanted."""
        return self.precision if devices.lowers(self.precision, device) else "exact"

    @contextmanager
    def lowered(self, device: str | torch.device) -> Iterator[None]:
        """Networks that are asked inside compute in this precision, where the device can."""
        token = _precision.set(self.on(device))
        try:
            yield
        finally:
            _precision.reset(token)

    @contextmanager
    def backward(self, device: str | torch.device) -> Iterator[None]:
        """For a backward pass, of networks that were asked within `lowered`."""
        # One in bf16 has the types of its forward pass.
        with devices.products("tf32" if self.on(device) == "tf32" else None):
            yield

    def compiled(self, network: nn.Module, device: str | torch.device) -> Any:
        """The network, compiled where that is wanted and the device is a GPU; weights are shared.

        Hooks that are registered later are not called.
        """
        if not self.compiles or not devices.accelerated(device):
            return network
        return torch.compile(network, backend=BACKEND)


SINGLE = Computing()


def computing_of(arguments: Namespace, job: Job) -> Computing:
    """How the networks of a job compute, by `nndefense.core.command.computing_options`; once it has its device."""
    found = Computing(arguments.precision, arguments.compile)
    if found.precision != "exact":
        job.say(f"networks compute in {found.on(job.device)} where {found.precision} is wanted")
    return found


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
