"""Reads weight files without executing anything, and refuses those that do not fit the model."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nndefense.core.errors import FileFault
from nndefense.models.standardize import Standardized

SUFFIXES = (".safetensors", ".pth", ".pt")
# Blocks per stage and kind of block of torchvision's ResNets; the wide and the ResNeXt ones share these.
_STAGES = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """State dict of a network from a .safetensors, .pth or .pt file, on the CPU.

    Accepts the tensors themselves or a dict that holds them under "state_dict" or "model"; strips the prefix
    "module." of parallel training. Pickled code is never executed.
    Raises FileFault for missing, truncated, malicious or foreign files.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise FileFault(f"{path}: unknown kind of weights; allowed: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileFault(f"{path}: no such file")
    state = _read(path)
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not state:
        raise FileFault(f"{path}: holds no state dict")
    strangers = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if strangers:
        raise FileFault(f"{path}: entry {strangers[0]!r} is no tensor; a state dict of tensors is needed")
    return {str(key).removeprefix("module."): value.detach() for key, value in state.items()}


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            # From bytes: a memory-mapped file that is cut later would kill the process.
            return load(path.read_bytes())
        return torch.load(path, map_location="cpu", weights_only=True)
    # Damaged files raise nearly anything: UnpicklingError, RuntimeError, EOFError, KeyError, ...
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        reason = f"{type(error).__name__}: {reason[:120]}"
        raise FileFault(f"{path}: damaged, or holds more than tensors ({reason}); replace it") from error


def apply_weights(model: Standardized, state: Mapping[str, Tensor], name: str) -> Standardized:
    """Copies `state` into `model.net`, strictly, and returns the model in eval mode.

    name: of the weights, for messages. Counters of batch-norm batches may be absent.
    Raises FileFault, before anything is changed, for another architecture or class count (both are named) and
    for values that are not finite.
    """
    state = {key.removeprefix("net."): value for key, value in state.items() if key not in ("mean", "std")}
    expected = model.net.state_dict()
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, value)
    _check_fit(model, state, expected, name)
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise FileFault(f"{name}: tensor {key!r} holds NaN or infinite values; replace the file")
    model.net.load_state_dict(state)
    return model.eval()


def _check_fit(model: Standardized, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], name: str) -> None:
    missing = sorted(expected.keys() - state.keys())
    unknown = sorted(state.keys() - expected.keys())
    other = sorted(k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape)
    if not missing and not unknown and not other:
        return
    if missing:
        detail = f"{len(missing)} tensors are missing, the first is {missing[0]!r}"
    elif unknown:
        detail = f"{len(unknown)} tensors are unknown, the first is {unknown[0]!r}"
    else:
        detail = f"{other[0]!r} is {tuple(state[other[0]].shape)} instead of {tuple(expected[other[0]].shape)}"
    architecture, classes = describe_state(state)
    raise FileFault(
        f"{name}: holds {architecture} with {classes or 'an unknown number of'} classes, but the model is "
        f"{model.architecture} with {model.classes or describe_state(expected)[1]} classes ({detail})"
    )


def describe_state(state: Mapping[str, Tensor]) -> tuple[str, int | None]:
    """Best guess of (architecture, classes) of a ResNet's state dict, for messages; may be wrong."""
    blocks: dict[int, int] = {}
    for key in state:
        if found := re.match(r"layer(\d)\.(\d+)\.", key):
            stage, block = int(found.group(1)), int(found.group(2))
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
    counts = tuple(blocks[stage] for stage in sorted(blocks))
    head = state.get("linear.weight", state.get("fc.weight"))
    classes = int(head.shape[0]) if head is not None and head.ndim == 2 else None
    if len(counts) == 3 and len(set(counts)) == 1 and "linear.weight" in state:
        return f"cifar_resnet{6 * counts[0] + 2}", classes
    return _STAGES.get((counts, "layer1.0.conv3.weight" in state), "an unknown architecture"), classes


def network_state(model: Standardized) -> dict[str, Tensor]:
    """The state dict of `model.net` as contiguous CPU tensors, ready to be written as safetensors."""
    return {key: value.detach().cpu().contiguous() for key, value in model.net.state_dict().items()}
