"""A defended system on disk: one description that names its files, relative to its own place.

`results/systems/{defense}.json` says what answers in a run, so that images of any origin can be put to it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nndefense.axes.cells import NEIGHBORS, System
from nndefense.core.errors import FileFault
from nndefense.core.files import read_json
from nndefense.core.registry import make
from nndefense.core.seals import fault
from nndefense.defenses import DEFENSES
from nndefense.evaluation.context import read_context

if TYPE_CHECKING:
    from nndefense.defenses.base import Bound

FOLDER = "systems"
FORMAT = 1
PATHS = ("model", "target", "clean", "files")


@dataclass(frozen=True, kw_only=True)
class DefendedSystem:
    """What answers images in a run; paths as given, or, where it was read, from the working directory.

    Attributes:
        name: of the defence; "none" is the bare network, "knn" the nearest neighbours.
        kind: the registered defence that it is.
        label: what tables and figures call it.
        options: of the defence's class.
        model: model.json of the network that it asks.
        target: model.json of the model that defines standardised pixels.
        roles: the need of each file, (f,).
        files: what it needs, (f,).
        readers: need -> "module:function" that reads it.
        facts: need -> small values that its reader is given.
        draws: seed of what is random in its answers.
        batch: images that it answers at once.
        dataset, seed, model_name: columns of its result rows.
        columns: columns of its result rows that tell the system.
        clean: clean query set, .npz.
    """

    name: str
    kind: str
    label: str
    options: Mapping[str, Any]
    model: str
    target: str
    roles: Sequence[str]
    files: Sequence[str]
    readers: Mapping[str, str]
    facts: Mapping[str, Any]
    draws: int
    batch: int
    dataset: str
    seed: int
    model_name: str
    columns: System
    clean: str

    @property
    def row_facts(self) -> dict[str, Any]:
        """The columns dataset, seed and model of its result rows."""
        return {"dataset": self.dataset, "seed": self.seed, "model": self.model_name}

    @property
    def folder(self) -> str:
        """The folder of its answers and rows: its name, or the layer that neighbours are found by."""
        return self.columns.features if self.name == NEIGHBORS else self.name


def system_json(system: DefendedSystem, folder: str | Path) -> dict[str, Any]:
    """The description as JSON, its paths relative to the folder that it will lie in."""
    values = {field.name: getattr(system, field.name) for field in fields(system)}
    for name in PATHS:
        values[name] = _each(values[name], lambda path: Path(os.path.relpath(path, folder)).as_posix())
    return {"format": FORMAT, **values, "columns": system.columns._asdict()}


def find_system(results: str | Path, name: str) -> Path:
    """The description of a defence in a folder of results. FileFault where there is none, which says how it is made."""
    path = Path(results, FOLDER, f"{name}.json")
    if not path.is_file():
        there = ", ".join(sorted(one.stem for one in path.parent.glob("*.json"))) or "none"
        raise FileFault(f"{path}: is not there; described here: {there}; others: snakemake {path}")
    return path


def read_system(path: str | Path) -> DefendedSystem:
    """The description in a file.

    Raises:
        FileFault: it is absent, damaged, or of another format.
    """
    values = read_json(path)
    names = {field.name for field in fields(DefendedSystem)}
    if values.pop("format", None) != FORMAT or set(values) != names:
        raise fault(path, "does not describe a defended system, or is of another version")
    if set(values["columns"]) != set(System._fields):
        raise fault(path, f"has columns {', '.join(values['columns'])}, expected {', '.join(System._fields)}")
    # A description may come from somebody else; it must not name any function of this Python.
    if strangers := [one for one in values["readers"].values() if not one.startswith("nndefense.")]:
        raise fault(path, f"names the reader {strangers[0]}, which is none of this library")
    for name in PATHS:
        values[name] = _each(values[name], lambda one: os.path.normpath(Path(path).parent / one))
    return DefendedSystem(**values | {"columns": System(**values["columns"])})


def bind_system(system: DefendedSystem, device: str = "cpu") -> "Bound":
    """The defence as deployed, ready to answer.

    Args:
        system: as `read_system` gives it.
        device: of the network.

    Raises:
        FileFault: a file is absent, damaged, or does not belong to the others; it is named.
        ConfigError: an unknown kind of defence, or unknown options.
    """
    from nndefense.models.build import freeze
    from nndefense.models.checkpoint import open_checkpoint

    network = freeze(open_checkpoint(system.model)[0]).to(device)
    context = read_context(system.roles, system.files, system.readers, system.facts, network)
    return make("defense", DEFENSES, system.kind, system.options).bind(network, context)


def doubts_of_system(system: DefendedSystem, bound: "Bound", images: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Fields of `Answers` that say what answers rest on, by name: of the nearest neighbours; none for others.

    Args:
        system: what answers.
        bound: as `bind_system` gives it.
        images: (n, 3, H, W) float32 in [0, 1], (n,) rows: ids of the test images that they were made of.
    """
    if system.name != NEIGHBORS:
        return {}
    from nndefense.defenses.batches import in_device_batches
    from nndefense.defenses.deployed import read_deployed
    from nndefense.evaluation.doubts import read_copies

    deployed = read_deployed(system.files[0])
    first = read_copies(system.clean, deployed.pixels, deployed.skipped).of(rows)[deployed.pool_name]
    neighbors: Any = bound
    parts = list(in_device_batches(lambda shown, _: neighbors.rests_on(shown), images, bound.device, system.batch))
    voters, near = (np.concatenate(part) for part in zip(*parts, strict=True))
    copies = first < deployed.images
    return {"voters": voters, "near": near | copies, "copies": copies}


def _each(value: str | Sequence[str], change: Callable[[str], str]) -> str | list[str]:
    return change(value) if isinstance(value, str) else [change(one) for one in value]
