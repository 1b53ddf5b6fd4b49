"""Blocks of images on their way to a GPU: the next one is sent while one is computed. On the CPU they stay as they are.

What is sent lies in pinned memory, which a GPU reads by itself, as bytes: pixels become numbers there.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nndefense.core import devices

Block = tuple[slice, NDArray, dict[int, str]]


def ahead(
    blocks: Iterable[Block], device: str | torch.device
) -> Iterator[tuple[slice, NDArray | Tensor, dict[int, str]]]:
    """Yield blocks with their images on a device, in order.

    A block may be used until the next one is asked for, by when all work on it must have been waited for.

    Args:
        blocks: positions, images, and position -> why it could not be read.
        device: where they are computed.
    """
    if not devices.accelerated(device):
        yield from blocks
        return
    library, sent = torch.get_device_module(device), None
    lane = library.Stream()
    for place, images, unread in blocks:
        # The block that is yielded next has arrived; the one behind it must not be waited for.
        library.current_stream().wait_stream(lane)
        # Memory of blocks before is free once what was computed of them is done.
        lane.wait_stream(library.current_stream())
        with library.stream(lane):
            on_its_way = place, _send(images, device), unread
        if sent is not None:
            yield sent
        sent = on_its_way
    library.current_stream().wait_stream(lane)
    if sent is not None:
        yield sent


def _send(images: NDArray, device: str | torch.device) -> Tensor:
    # Contiguous and writeable, as torch asks for; a memory map is neither.
    tensor = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
