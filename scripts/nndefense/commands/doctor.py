"""Say what this machine has of what an experiment needs: packages, GPUs, cores, memory, disk, images and weights.

What is needed is that of a configuration, as `nndefense plan` reckons it. The exit code is 1 where something that is
needed is missing.
"""

import argparse
import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from nndefense.commands.doctor_facts import FAISS, MB, Machine, Needs, look_around, needs_of, version_of
from nndefense.commands.images import in_columns
from nndefense.core.text import visible

PYTHON = (3, 11)
OK, NOTE, MISSING = "ok", "note", "missing"


class Finding(NamedTuple):
    """A line of the table: what, what is there, what is needed, and whether that will do."""

    what: str
    found: str
    needed: str
    state: str = OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command's arguments."""
    parser.add_argument(
        "--configfile", nargs="+", default=[], metavar="FILE", help="as of snakemake (default: config.yaml)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Look, compare and print; the exit code is 1 where something is missing."""
    if find_spec("yaml") is None:
        print("PyYAML: missing, no configuration can be read; pip install PyYAML")
        return 1
    from nndefense.commands.plan_facts import configuration_files, read_configuration
    from nndefense.config import load_config

    config = load_config(read_configuration(configuration_files(arguments.configfile)))
    results = Path("results", config.run)
    machine = look_around(results)
    found = list(findings(machine, needs_of(config, results, reckon=bool(machine.torch))))
    print(in_columns([("", "here", "needed", ""), *found]))
    missing = [one.what for one in found if one.state == MISSING]
    print(visible(f"missing: {', '.join(missing)}") if missing else "nothing is missing")
    return 1 if missing else 0


def findings(machine: Machine, needs: Needs) -> Iterator[Finding]:
    """What there is against what is needed.

    Args:
        machine: what there is.
        needs: of a configuration.
    """
    yield Finding("Python", dotted(machine.python), f">= {dotted(PYTHON)}", enough(machine.python[:2] >= PYTHON))
    yield from _libraries(machine)
    yield from _packages(machine, needs)
    yield _gpus(machine, needs)
    few = machine.cores < needs.threads
    yield Finding("cores", f"{machine.cores}", f"{needs.threads} of the widest job", NOTE if few else OK)
    yield _memory(machine, needs)
    yield _disk(machine, needs)
    yield _hours(needs)
    for key, path in needs.files.items():
        yield Finding(key, "not there", path, MISSING)
    if not needs.files:
        yield Finding("images, weights", "there", "files and folders that the configuration names")


def enough(holds: bool) -> str:
    """OK or MISSING."""
    return OK if holds else MISSING


def dotted(version: tuple[int, ...]) -> str:
    """(3, 11) -> 3.11"""
    return ".".join(map(str, version))


def _libraries(machine: Machine) -> Iterator[Finding]:
    yield Finding("torch", machine.torch or machine.torch_fault, "imports", enough(bool(machine.torch)))
    both = [name for name in FAISS[:2] if name in machine.packages]
    found = machine.faiss or machine.faiss_fault
    if len(both) > 1:
        yield Finding(
            "FAISS", f"{found}; {' and '.join(both)}", "one of the two, as they overwrite each other", MISSING
        )
    else:
        yield Finding("FAISS", found, "imports", enough(bool(machine.faiss)))


def _packages(machine: Machine, needs: Needs) -> Iterator[Finding]:
    good = []
    for name, least in needs.packages.items():
        version = machine.packages.get(name.lower())
        # Its own line says why.
        if name == "torch" and not machine.torch:
            continue
        if version is None or version_of(version) < least:
            wanted = f">= {dotted(least)}" if least else "any version"
            yield Finding(name, version or "not installed", f"{wanted}; pip install --upgrade {name}", MISSING)
        elif name == "snakemake":
            yield Finding(name, version, f">= {dotted(least)}")
        else:
            good.append(name)
    yield Finding("other packages", f"{len(good)} installed", "as the package asks for")


def _gpus(machine: Machine, needs: Needs) -> Finding:
    if machine.cuda:
        return Finding("GPUs", ", ".join(machine.cuda), "used where there are some" if needs.gpu else "none")
    if machine.gpus and needs.gpu:
        return Finding("GPUs", f"{machine.gpus}, which torch cannot use", "a torch that can, or gpu: 0", MISSING)
    if needs.gpu:
        return Finding("GPUs", "none", "used where there are some; networks compute on cores", NOTE)
    return Finding("GPUs", "none", "none")


def _memory(machine: Machine, needs: Needs) -> Finding:
    here = f"{machine.megabytes:,.0f} MB"
    if math.isnan(needs.megabytes):
        return Finding("memory", here, "unknown", NOTE)
    needed = f"{at_least(needs)}{needs.megabytes:,.0f} MB of the largest job"
    return Finding("memory", here, needed, enough(machine.megabytes >= needs.megabytes))


def _disk(machine: Machine, needs: Needs) -> Finding:
    here = f"{machine.free / MB:,.0f} MB free"
    if not machine.writable:
        return Finding("disk", "results cannot be written", "a folder that can", MISSING)
    if math.isnan(needs.written):
        return Finding("disk", here, "unknown", NOTE)
    left = max(needs.written - needs.there, 0)
    there = f", {needs.there / MB:,.0f} are there" if needs.there else ""
    return Finding("disk", here, f"{at_least(needs)}{needs.written / MB:,.0f} MB{there}", enough(machine.free >= left))


def _hours(needs: Needs) -> Finding:
    if not needs.jobs:
        return Finding("jobs", "", "unknown without torch", NOTE)
    return Finding("jobs", "", f"{needs.jobs:,}, {at_least(needs)}{needs.hours:.3g} hours of one core")


def at_least(needs: Needs) -> str:
    """Stands before a number of which not all is known."""
    return "≥ " if needs.partial else ""
