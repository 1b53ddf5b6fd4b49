"""Which processor a job computes on. Claim before importing torch or faiss: both bind to devices at first use.

Snakemake's `gpu` resource only counts; nothing assigns devices. Jobs on one machine share them out by lock files,
which the system releases when a job ends, however it ends.
"""

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_held: list[IO] = []


def visible_gpus() -> list[str]:
    """Device ids of this machine's NVIDIA GPUs, or those CUDA_VISIBLE_DEVICES already names (as Slurm sets it)."""
    preset = os.environ.get("CUDA_VISIBLE_DEVICES")
    if preset is not None:
        return [name for name in preset.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^GPU (\d+):", answer.stdout, flags=re.MULTILINE)


def claim_device(gpus: int) -> tuple[str, str]:
    """Claim one device for this process; returns ("cuda" or "cpu", a sentence for the log).

    `gpus`: what Snakemake granted; 0 means compute on the CPU. With more jobs than devices, jobs share.
    """
    if gpus < 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return "cpu", "computes on the CPU (gpu=0)"
    names = visible_gpus()
    if not names:
        return "cpu", "computes on the CPU (no GPU found)"
    folder = Path(tempfile.gettempdir()) / f"nndefense-gpu-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for name in names:
        handle = open(folder / f"{re.sub(r'[^0-9A-Za-z-]', '_', name)}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            continue
        _held.append(handle)
        os.environ["CUDA_VISIBLE_DEVICES"] = name
        return "cuda", f"computes on GPU {name}"
    name = names[os.getpid() % len(names)]
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    return "cuda", f"shares GPU {name} (all {len(names)} are claimed)"


def accelerated(device: Any) -> bool:
    """Whether work on a device, as torch or its name, is arranged as a GPU wants it. Nothing else decides that."""
    return str(device).partition(":")[0] == "cuda"


def lowers(precision: str, device: Any) -> bool:
    """Whether a device, as torch or its name, is faster in a lower precision, "tf32" or "bf16"."""
    on_cpu = str(device).partition(":")[0] == "cpu"
    return precision != "exact" and (accelerated(device) or (precision == "bf16" and on_cpu and cpu_has_bf16()))


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 by instructions of its own. By others it would be slower than exact."""
    import torch

    found = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(found and torch.backends.mkldnn.is_available() and found())


@contextlib.contextmanager
def products(precision: str | None) -> Iterator[None]:
    """Products of a GPU inside are "ieee" (single precision) or "tf32"; None: as around."""
    if precision is None:
        yield
        return
    from torch.backends import cuda, cudnn

    kinds: tuple[Any, ...] = (cuda.matmul, cudnn.conv)  # type: ignore[attr-defined]  # not in its types
    before = [one.fp32_precision for one in kinds]
    try:
        for one in kinds:
            one.fp32_precision = precision
        yield
    finally:
        for one, value in zip(kinds, before, strict=True):
            one.fp32_precision = value


def exact_products() -> None:
    """From here on a GPU's products are in single precision; torch itself rounds those of convolutions."""
    from torch.backends import cuda, cudnn

    cuda.matmul.fp32_precision = cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # likewise
