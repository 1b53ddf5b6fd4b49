"""Approximate indexes on the GPU that a process has claimed, where FAISS can put them there."""

from functools import cache
from typing import Any

import faiss

from nndefense.core import devices

# FAISS's own limit on a GPU, of neighbours and of lists that are visited.
LARGEST = 2048


def on_device(index: faiss.Index, k: int, probes: int, device: str) -> faiss.Index | None:
    """A copy of an inverted file on a GPU, which visits as many lists and names the same rows.

    None where it has to be searched on the CPU: the device is none, FAISS was built without GPUs or has no such index
    on them, there are more neighbours or lists than it takes, or memory does not suffice.

    Args:
        index: of a shard.
        k: neighbours that it will be asked for.
        probes: lists that are visited.
        device: as torch names it.
    """
    if not (devices.accelerated(device) and has_gpus() and max(k, probes) <= LARGEST):
        return None
    inverted = faiss.try_extract_index_ivf(index)
    if inverted is None:
        return None
    inverted.nprobe = min(probes, inverted.nlist)
    try:
        return faiss.index_cpu_to_gpu(_resources(), 0, index)
    except RuntimeError:
        # Of what it cannot put there it says so in many words.
        return None


def has_gpus() -> bool:
    """Whether this FAISS was built for GPUs and sees one."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


@cache
def _resources() -> Any:
    return faiss.StandardGpuResources()
