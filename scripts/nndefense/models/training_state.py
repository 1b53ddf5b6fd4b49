"""The state of a training after an epoch, as plain tensors: a training that goes on from it ends with the same bits."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from nndefense.core.errors import FileFault, InputError

MODEL, MOMENTUM, GENERATOR = "model/", "momentum/", "generator"


@dataclass(frozen=True)
class TrainingState:
    """What a training needs to go on after `epoch` epochs; contiguous tensors on the CPU.

    weights: the model's state dict, buffers included. momentum: of each trained parameter, by its name.
    generator: state of the random generator, uint8. history: one dict an epoch, as `train` returns.
    """

    epoch: int
    weights: Mapping[str, Tensor]
    momentum: Mapping[str, Tensor]
    generator: Tensor
    history: Sequence[Mapping[str, float]]


def capture(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    history: Sequence[Mapping[str, float]],
) -> TrainingState:
    """A copy of the state between two epochs."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    momentum = {names[key]: _copy(value["momentum_buffer"]) for key, value in optimizer.state.items()}
    weights = {name: _copy(value) for name, value in model.state_dict().items()}
    return TrainingState(len(history), weights, momentum, generator.get_state(), [dict(row) for row in history])


def restore(
    state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> list[dict[str, float]]:
    """Puts the model, the optimizer and the generator into the state, and returns its history.

    Raises InputError, before anything is changed, for the state of another model.
    """
    trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter in trained}
    for kind, found, expected in (
        ("weights", state.weights, model.state_dict()),
        # A parameter that never got a gradient has none.
        ("momentum", state.momentum, {name: parameters[name] for name in state.momentum if name in parameters}),
    ):
        if {name: value.shape for name, value in found.items()} != {n: value.shape for n, value in expected.items()}:
            raise InputError(f"the state of training holds {kind} of another model")
    if len(state.history) != state.epoch:
        raise InputError(f"the state of training after {state.epoch} epochs has a history of {len(state.history)}")
    model.load_state_dict(state.weights)
    for name, value in state.momentum.items():
        # In the parameter's memory format: the fused optimizer walks through both in memory order.
        buffer = torch.empty_like(parameters[name]).copy_(value)
        optimizer.state[parameters[name]]["momentum_buffer"] = buffer.detach()
    generator.set_state(state.generator)
    return [dict(row) for row in state.history]


def pack_state(state: TrainingState) -> bytes:
    """The state as safetensors, epoch and history as JSON in its metadata."""
    tensors = {MODEL + name: value for name, value in state.weights.items()}
    tensors |= {MOMENTUM + name: value for name, value in state.momentum.items()}
    # One entry: safetensors writes several in any order, and equal states shall give equal bytes.
    about = json.dumps({"epoch": state.epoch, "history": list(state.history)})
    return save({**tensors, GENERATOR: state.generator}, metadata={"training": about})


def unpack_state(content: bytes) -> TrainingState:
    """The state that `pack_state` packed. Raises FileFault for anything else."""
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = json.loads(header["__metadata__"]["training"])
        epoch, history = about["epoch"], about["history"]
        generator = tensors.pop(GENERATOR)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FileFault(f"no state of a training ({type(error).__name__}: {error})") from error
    parts = {
        prefix: {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        for prefix in (MODEL, MOMENTUM)
    }
    return TrainingState(epoch, parts[MODEL], parts[MOMENTUM], generator, history)


def fingerprint(settings: Mapping[str, Any], images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """SHA-256 of all that decides the weights: settings (JSON values), training data, torch's version."""
    facts = {
        "settings": settings,
        "torch": torch.__version__,
        "images": [list(images.shape), hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()],
        "labels": hashlib.sha256(np.ascontiguousarray(labels, dtype=np.int64).data).hexdigest(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
