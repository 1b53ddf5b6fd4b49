"""What a machine has, and what a configuration needs of it."""

import glob
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from nndefense.config import Config
from nndefense.config.images import WHOLE
from nndefense.core.devices import visible_gpus

MB = 1_000_000
PACKAGE = "nndefense"
FAISS = ("faiss-cpu", "faiss-gpu", "faiss")
# Extras by what asks for them: kinds of image sets, and beginnings of architectures.
KIND_EXTRAS, ARCHITECTURE_EXTRAS = {"webdataset": "webdataset"}, {"efficientnet": "efficientnet"}
Version = tuple[int, ...]
# What the workflow needs, whatever the package says of itself where it is not installed.
WORKFLOW: dict[str, Version] = {"snakemake": (9, 19), "PyYAML": ()}
LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Machine:
    """What there is.

    Attributes:
        python: its version. packages: versions by name, of all that are installed, names in small letters.
        torch, faiss: what they say of themselves, "" where they cannot be imported, and why then.
        cuda: devices that torch can use. gpus: that the system names.
        cores: that this process may use. megabytes: of memory. free: bytes of the disk of the results.
        writable: whether results can be written there.
    """

    python: Version
    packages: dict[str, str]
    torch: str
    torch_fault: str
    faiss: str
    faiss_fault: str
    cuda: tuple[str, ...]
    gpus: int
    cores: int
    megabytes: float
    free: float
    writable: bool = True


@dataclass(frozen=True)
class Needs:
    """What a configuration asks for; NaN: unknown.

    Attributes:
        packages: least versions by name, with those of extras. files: missing files and folders, by their keys.
        gpu: whether jobs ask for GPUs. threads: of the widest job.
        megabytes: of the largest job. written: bytes in all. there: of these, in the results already.
        jobs: how many. hours: of one core, of those whose hours are known. partial: whether some are not.
    """

    packages: dict[str, Version]
    files: dict[str, str] = field(default_factory=dict)
    gpu: bool = False
    threads: int = 1
    megabytes: float = math.nan
    written: float = math.nan
    there: float = 0
    jobs: int = 0
    hours: float = math.nan
    partial: bool = False


# -- the machine


def look_around(results: Path) -> Machine:
    """What this machine has; results: the folder that is written to."""
    torch, torch_fault, cuda = _torch()
    faiss, faiss_fault = _faiss()
    place = next(one for one in (results.absolute(), *results.absolute().parents) if one.is_dir())
    return Machine(
        python=sys.version_info[:3],
        packages={(one.name or "").lower(): one.version for one in metadata.distributions()},
        torch=torch,
        torch_fault=torch_fault,
        faiss=faiss,
        faiss_fault=faiss_fault,
        cuda=cuda,
        gpus=len(visible_gpus()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        megabytes=_memory(),
        free=shutil.disk_usage(place).free,
        writable=os.access(place, os.W_OK),
    )


def _imported(name: str) -> tuple[Any, str]:
    """A module, or None and why it cannot be imported."""
    try:
        return import_module(name), ""
    # Libraries that do not fit each other raise anything, e.g. OSError for one that is not found.
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _torch() -> tuple[str, str, tuple[str, ...]]:
    torch, fault = _imported("torch")
    if torch is None:
        return "", fault, ()
    devices = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    names = tuple(torch.cuda.get_device_name(one) for one in devices)
    return (
        f"{torch.__version__}, {'built for CUDA ' + torch.version.cuda if torch.version.cuda else 'CPU only'}",
        "",
        names,
    )


def _faiss() -> tuple[str, str]:
    faiss, fault = _imported("faiss")
    if faiss is None:
        return "", fault
    gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else None
    return f"{faiss.__version__}, {'without GPU' if gpus is None else f'with GPU, finds {gpus}'}", ""


def _memory() -> float:
    """Megabytes of memory, or that a container may use of it."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        text = LIMIT.read_text().strip()
    except OSError:
        text = "max"
    return min(whole, int(text) if text.isdecimal() else whole) / MB


# -- the configuration


def needs_of(config: Config, results: Path, *, reckon: bool) -> Needs:
    """What an experiment needs.

    Args:
        config: of the experiment.
        results: its folder of results.
        reckon: whether torch is there, without which no plan can be made.
    """
    known: dict[str, Any] = {}
    if reckon:
        from nndefense.commands.plan import SHIPPED, known_facts, report_jobs
        from nndefense.flow.plan import make_plan
        from nndefense.flow.rates import read_rates

        total = make_plan(
            config, known_facts(config), read_rates(SHIPPED), cores=1, gpus=0, more=report_jobs(config)
        ).total
        known = {"megabytes": total.megabytes, "written": total.written, "jobs": total.jobs, "hours": total.cpu_hours}
        known |= {"partial": bool(total.unknown), "there": sum(one.stat().st_size for one in _files_in(results))}
    return Needs(
        packages=required_packages(config),
        files=dict(missing_files(config)),
        gpu=bool(config.gpu),
        threads=max([config.threads, *(one.train.threads for one in config.models.values() if one.train)]),
        **known,
    )


def _files_in(folder: Path) -> Iterator[Path]:
    return (one for one in folder.rglob("*") if one.is_file() and not one.is_symlink())


def required_packages(config: Config) -> dict[str, Version]:
    """Packages that jobs of a configuration import, by least version, as this one declares them; FAISS is apart."""
    extras = {extra for kind, extra in KIND_EXTRAS.items() if any(kind in one.kinds for one in config.images.values())}
    for start, extra in ARCHITECTURE_EXTRAS.items():
        extras |= {extra for one in config.models.values() if one.architecture.startswith(start)}
    found = dict(WORKFLOW)
    try:
        declared = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        declared = []
    for line in declared:
        only = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        name = re.match(r"[\w.-]+", line)
        if name and name[0].lower() not in (*FAISS, PACKAGE) and (only is None or only[1] in extras):
            found[name[0]] = max(found.get(name[0], ()), least_version(line))
    return found


def least_version(requirement: str) -> Version:
    """torch>=2.6,<3 -> (2, 6); () where any will do."""
    found = re.search(r"[>=]=\s*([\d.]+)", requirement.partition(";")[0])
    return version_of(found[1]) if found else ()


def version_of(text: str) -> Version:
    """2.15.0+cu132 -> (2, 15, 0)"""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def missing_files(config: Config) -> Iterator[tuple[str, str]]:
    """Keys of a configuration, and the files or folders that they name and that are not there."""
    for name, model in config.models.items():
        if model.weights and not Path(model.weights).is_file():
            yield f"models.{name}.weights", model.weights
    for name, section in config.images.items():
        key = f"images.{name}"
        while whole := getattr(section, WHOLE, None):
            section, key = whole, f"{key}.{WHOLE}"
        root, pattern = getattr(section, "root", None), getattr(section, "pattern", None)
        if root and not getattr(section, "download", False) and not Path(root).is_dir():
            yield f"{key}.root", root
        # Braces stand for numbers, which listing tells; a folder is there, or it is not.
        folder = (pattern or "").partition("{")[0].rpartition("/")[0] or "."
        if pattern and not glob.glob(folder):
            yield f"{key}.pattern", pattern
