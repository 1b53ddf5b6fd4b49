"""Reads weight files without executing anything, and refuses those that do not fit the model."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nndefense.core.errors import FileFault
from nndefense.models.forms import STATISTICS, Found, find_state, head_of, network_part, with_head
from nndefense.models.standardize import Standardized

SUFFIXES = (".safetensors", ".pth", ".pt", ".pth.tar", ".ckpt", ".bin", ".th")
EXPORT = "torch.save(model.state_dict(), 'weights.pth') in the program that made it"
# Means and standard deviations are written with three or four digits.
CLOSE = 2e-3
# Blocks per stage, and outputs and inputs of a filter of the first block's second layer, of torchvision's ResNets.
_STAGES: dict[tuple[Any, ...], str] = {
    ((2, 2, 2, 2), (64, 64)): "resnet18",
    ((3, 4, 6, 3), (64, 64)): "resnet34",
    ((3, 4, 6, 3), (64, 64), "bottleneck"): "resnet50",
    ((3, 4, 23, 3), (64, 64), "bottleneck"): "resnet101",
    ((3, 8, 36, 3), (64, 64), "bottleneck"): "resnet152",
    ((3, 4, 6, 3), (128, 128), "bottleneck"): "wide_resnet50_2",
    ((3, 4, 23, 3), (128, 128), "bottleneck"): "wide_resnet101_2",
    ((3, 4, 6, 3), (128, 4), "bottleneck"): "resnext50_32x4d",
    ((3, 4, 23, 3), (256, 8), "bottleneck"): "resnext101_32x8d",
    ((3, 4, 23, 3), (256, 4), "bottleneck"): "resnext101_64x4d",
}


class _StandIn:
    """In the place of an object whose class a file names: takes whatever the file gives it, and does nothing."""

    def __new__(cls, *arguments: Any) -> "_StandIn":
        return object.__new__(cls)

    def __init__(self, *arguments: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Items(_StandIn):
    """In the place of a dict of another class: torch fills only those of its own choice."""

    def __new__(cls, *arguments: Any) -> Any:
        return OrderedDict()


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """State dict of a network from a file, as of `read_weights`."""
    return read_weights(path).state


def read_weights(path: str | Path) -> Found:
    """The state dict of a network in a file, on the CPU, in any of the forms that `nndefense.models.forms` lists.

    Nothing of the file is executed: what is no tensor, such as arguments of a training, is replaced by stand-ins.
    Raises FileFault for missing, truncated, malicious or foreign files, and for whole models.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise FileFault(f"{path}: unknown kind of weights; allowed: {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileFault(f"{path}: no such file")
    content = _read(path)
    found = find_state(content)
    if found is None:
        whole = [one for one in (content, *_values(content)) if isinstance(one, _StandIn)]
        what = "no state dict"
        if whole:
            kind = type(whole[0])
            what = f"a whole model ({kind.__module__}.{kind.__name__}) that only its own code can open"
        raise FileFault(f"{path}: holds {what}; allowed: what is written by {EXPORT}")
    for key, value in found.state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise FileFault(f"{path}: tensor {key!r} is quantized, sparse or empty; allowed: plain tensors")
    return found


def _values(content: object) -> list[object]:
    return list(content.values()) if isinstance(content, Mapping) else []


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            # From bytes: a memory-mapped file that is cut later would kill the process.
            return load(path.read_bytes())
        with torch.serialization.safe_globals(_stand_ins(path)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileFault:
        raise
    # Damaged files raise nearly anything: UnpicklingError, RuntimeError, EOFError, KeyError, ...
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        reason = f"{type(error).__name__}: {reason[:120]}"
        raise FileFault(
            f"{path}: damaged, or holds more than tensors ({reason}); allowed: what is written by {EXPORT}"
        ) from error


def _stand_ins(path: Path) -> list[Any]:
    """Stand-ins for what a file names and torch does not allow; none for files that are no zip, which it refuses."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError as error:
        if "torchscript" in str(error).lower():
            raise FileFault(f"{path}: holds a TorchScript program; allowed: what is written by {EXPORT}") from error
        return []
    return [_stand_in(*name.rpartition(".")[::2]) for name in names]


def _stand_in(module: str, name: str) -> type:
    kind = _Items if name.lower().endswith("dict") else _StandIn
    # By these torch finds what a file names.
    return type(name, (kind,), {"__module__": module})


def apply_weights(model: Standardized, state: Mapping[str, Tensor], name: str) -> Standardized:
    """Copies `state` into `model.net`, strictly, and returns the model in eval mode.

    name: of the weights, for messages. Counters of batch-norm batches may be absent, and the last layer may have
    another of the usual names.
    Raises FileFault, before anything is changed, for another architecture or class count (both are named), for images
    that are standardised otherwise, and for values that are not finite.
    """
    expected = model.net.state_dict()
    state = with_head(network_part(state), expected)
    for statistic in STATISTICS:
        if statistic in state and statistic not in expected:
            _check_statistic(state.pop(statistic), getattr(model, statistic), f"{name}: {statistic}")
    for key, value in expected.items():
        # Those of layers that are not there would hide which network it is.
        if key.endswith("num_batches_tracked") and key.replace("num_batches_tracked", "running_mean") in state:
            state.setdefault(key, value)
    _check_fit(model, state, expected, name)
    for key, value in state.items():
        if not value.is_floating_point() and expected[key].is_floating_point():
            raise FileFault(f"{name}: tensor {key!r} is {value.dtype}; allowed: floats")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise FileFault(f"{name}: tensor {key!r} holds NaN or infinite values; replace the file")
    model.net.load_state_dict(state)
    return model.eval()


def _check_statistic(theirs: Tensor, ours: Tensor, name: str) -> None:
    if not torch.allclose(theirs.double().flatten(), ours.double().flatten().cpu(), rtol=0, atol=CLOSE):
        written, asked = ([round(one, 4) for one in values.flatten().tolist()] for values in (theirs, ours))
        raise FileFault(f"{name} of its images is {written}, the configuration has {asked}; allowed: the file's")


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
    head, second = head_of(state), state.get("layer1.0.conv2.weight")
    classes = int(state[f"{head}.weight"].shape[0]) if head else None
    # The first layer has 16 filters there, 64 in networks for larger images.
    if len(counts) == 3 and len(set(counts)) == 1 and second is not None and len(second) == 16:
        return f"cifar_resnet{6 * counts[0] + 2}", classes
    filters = tuple(second.shape[:2]) if second is not None else ()
    deep = ("bottleneck",) if "layer1.0.conv3.weight" in state else ()
    return _STAGES.get((counts, filters, *deep), "an unknown architecture"), classes


def is_tower(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is of an image tower alone, as this library writes it, and not of image and text."""
    return all(key.startswith(("visual.", "head.")) for key in state)


def network_state(model: Standardized) -> dict[str, Tensor]:
    """The state dict of `model.net` as contiguous CPU tensors, ready to be written as safetensors."""
    return {key: value.detach().cpu().contiguous() for key, value in model.net.state_dict().items()}
