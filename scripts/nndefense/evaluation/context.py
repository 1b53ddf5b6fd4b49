"""What a component needs to know, read from the files that the workflow makes: one reader per need.

Every reader has the arguments (files, facts, network): paths in the order of `nndefense.flow.needs.NEEDS`, small JSON
values, and the network that is attacked or that defends, on its device; it returns values by the name that components
know them by. A `PerRow` value is taken anew for the images of a batch.

Every job that attacks or defends depends on this module; readers that use other parts of the library are in `readers`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nndefense.core.arrays import read_array, read_arrays
from nndefense.core.errors import InputError
from nndefense.core.files import read_json
from nndefense.core.seals import fault
from nndefense.core.seeds import derive_seed

Files = Sequence[str]
Facts = Mapping[str, Any]


@dataclass(frozen=True)
class PerRow:
    """A value that belongs to the images of a batch; take: positions in the query set -> the value."""

    take: Callable[[slice], Any]


def read_context(roles: Sequence[str], files: Files, needs: Mapping[str, str], facts: Facts, network: Any) -> dict:
    """Everything that some needs name, in their order.

    Args:
        roles: the need of each file, (f,).
        files: paths, (f,), those of one need together and in its order.
        needs: need -> target ("module:function") of its reader.
        facts: need -> small values that its reader is given.
        network: what readers are given.

    Raises:
        InputError: a file of an unknown need.
    """
    from nndefense.core.registry import load

    if strangers := sorted(set(roles) - set(needs)):
        raise InputError(f"--roles {strangers[0]}: allowed: {', '.join(needs)}")
    found: dict[str, Any] = {}
    for need in dict.fromkeys(roles):
        paths = [path for role, path in zip(roles, files, strict=True) if role == need]
        found |= load(needs[need])(paths, facts.get(need, {}), network)
    return found


def at_rows(context: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """The context of the images at `rows` of the query set."""
    return {name: value.take(rows) if isinstance(value, PerRow) else value for name, value in context.items()}


def read_drawn(path: str, count: int | None, *, seed: int) -> dict[str, np.ndarray]:
    """The clean images that adaptive attacks are run on: images (n, 3, H, W), labels (n,), rows (n,).

    Args:
        path: the clean query set.
        count: how many, drawn at random; None: all.
        seed: of the run.
    """
    stored = read_arrays(path, "clean/images", "labels", "rows")
    n = len(stored["labels"])
    order = np.random.default_rng(derive_seed(seed, "adaptive")).permutation(n)
    places = np.sort(order[: n if count is None else count])
    return {name.rpartition("/")[2]: values[places] for name, values in stored.items()}


def images_of(path: str, rows: np.ndarray, member: str) -> np.ndarray:
    """Images (n, 3, H, W) of some rows, of a member of a pack of query sets.

    Args:
        path: the file of attacked images.
        rows: (n,) ids.
        member: the budget, as text.

    Raises:
        FileFault: the file lacks some of the images.
    """
    stored = read_arrays(path, "rows", f"{member}/images")
    places = {row: place for place, row in enumerate(stored["rows"].tolist())}
    if missing := [row for row in rows.tolist() if row not in places]:
        raise fault(path, f"lacks image {missing[0]}")
    return stored[f"{member}/images"][[places[row] for row in rows.tolist()]]


def read_answers(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`answers`: softmax rows of the query sets, one set after the other, as extraction left them."""
    return {"answers": read_array(files[0])[0]}


def read_patches(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`patches`: (N, size * size * 3) uint8."""
    return {"patches": read_array(files[0])[0]}


def read_tuned(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`tuned`: an option of the defence that was chosen on validation images, and its value."""
    chosen = read_json(files[0])
    return {"tuned": {chosen["option"]: chosen["value"]}}


def read_direction(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`direction`: (B, 3, H, W) float32, of attacks that scale one direction to every budget."""
    return {"direction": _tensors(read_arrays(files[0], "directions")["directions"])}


def read_knowledge(files: Files, facts: Facts, network: Any) -> dict[str, Any]:
    """`neighbor_softmax` (B, K, C) and `neighbor_codes` (B, 1, d) of the neighbours in the attacker's database."""
    stored = read_arrays(files[0])
    return {name: _tensors(stored[name]) for name in ("neighbor_softmax", "neighbor_codes")}


def _tensors(array: Any) -> PerRow:
    import torch

    tensor = torch.from_numpy(array)
    return PerRow(lambda rows: tensor[rows])
