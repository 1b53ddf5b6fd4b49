"""The forms in which programs leave the weights of a network: tables of wrappers, of prefixes, and of names of heads.

What a file holds besides, an optimizer or its epoch, is not looked at. Of several state dicts the averaged one is
taken, as timm does: its accuracy is the one that such a program reports.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Keys that a state dict stands under, also one below the other; the first that holds tensors counts.
AVERAGED = ("state_dict_ema", "model_ema")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model", "net")
# What stands before the names of tensors: of parallel training, compiled networks, modules of Lightning.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
# The last layer, by itself or in a Sequential with dropout.
HEADS = ("fc", "linear", "head", "classifier")
# Buffers of tools, at every module: thop's and ptflops' counts, and how many states were averaged.
COUNTERS = ("total_ops", "total_params", "n_averaged")
# What standardises images before the network, kept under these names.
STATISTICS = ("mean", "std")
# Wrappers within wrappers, at most.
LEVELS = 4
# Names of tensors in a log.
SHOWN = 5
_HEAD = re.compile(rf"({'|'.join(HEADS)})(\.\d+)?\.weight")
_STATISTIC = re.compile(rf"(?:.*\.)?(?:new_)?({'|'.join(STATISTICS)})")


class Found(NamedTuple):
    """A state dict that was found in a file.

    Attributes:
        state: tensors by name; floats of half precision in single precision.
        entry: keys that it stood under, "" for none. others: further state dicts beside it.
        left_out: names of tensors that are no part of the network.
    """

    state: dict[str, Tensor]
    entry: str = ""
    others: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What was chosen, in words; empty where there was no choice."""
        said = [f"takes {self.entry}, not {', '.join(self.others)}"] if self.others else []
        more = ", …" if len(self.left_out) > SHOWN else ""
        said += [f"leaves out {', '.join(self.left_out[:SHOWN])}{more}"] if self.left_out else []
        return "; ".join(said)


def find_state(content: object) -> Found | None:
    """The network's tensors among what a file holds; None where there are none."""
    entries = _entries(content, LEVELS)
    if not entries:
        return None
    entry, tensors = next(iter(entries.items()))
    inner, outer = _parts({key: single(value) for key, value in tensors.items() if not _is_counter(key)})
    return Found(inner, entry, tuple(list(entries)[1:]), tuple(outer))


def _entries(content: Any, levels: int) -> dict[str, dict[str, Tensor]]:
    """Tensors by the keys that they stand under, joined by points, in the order of WRAPPERS; "" for the top."""
    found: dict[str, dict[str, Tensor]] = {}
    if not isinstance(content, Mapping) or not levels:
        return found
    for wrapper in WRAPPERS:
        for entry, tensors in _entries(content.get(wrapper), levels - 1).items():
            found[f"{wrapper}.{entry}".rstrip(".")] = tensors
    # Beside wrappers stand scalars such as a loss.
    own = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return found or ({"": own} if own else {})


def network_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the network, without the prefixes of what it stands in.

    Further parts of that, such as weights of a loss, are left out, but for what standardises images: STATISTICS, of
    three values each.
    """
    return _parts(state)[0]


def _parts(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of the network, and what is left out."""
    inner: dict[str, Tensor] = dict(state)
    outer: dict[str, Tensor] = {}
    while not any(map(_HEAD.fullmatch, inner)):
        prefix = next((one for one in PREFIXES if any(key.startswith(one) for key in inner)), None)
        if prefix is None:
            break
        outer |= {key: value for key, value in inner.items() if not key.startswith(prefix)}
        inner = {key.removeprefix(prefix): value for key, value in inner.items() if key.startswith(prefix)}
    told = {
        key: found[1] for key, value in outer.items() if (found := _STATISTIC.fullmatch(key)) and value.numel() == 3
    }
    inner |= {name: outer[key] for key, name in told.items()}
    return inner, {key: value for key, value in outer.items() if key not in told}


def head_of(state: Mapping[str, Tensor]) -> str | None:
    """Name of the last layer, one of HEADS; None where there is none, or several."""
    found = [key for key, value in state.items() if _HEAD.fullmatch(key) and value.ndim == 2]
    return found[0].removesuffix(".weight") if len(found) == 1 else None


def with_head(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict whose last layer is called as the one that is expected."""
    ours, theirs = head_of(expected), head_of(state)
    if ours is None or theirs is None:
        return dict(state)
    names = {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}
    return {names.get(key, key): value for key, value in state.items()}


def single(value: Tensor) -> Tensor:
    """A tensor without its gradient; of half precision in single precision."""
    value = value.detach()
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _is_counter(key: str) -> bool:
    return key.rpartition(".")[2] in COUNTERS
