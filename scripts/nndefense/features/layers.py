"""The modules of a network by the name of their layer (see `nndefense.features.names`)."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nndefense.core.errors import ConfigError
from nndefense.features.names import parse_layer

# Modules that an error lists.
SHOWN = 8


@dataclass(frozen=True)
class Tap:
    """Where a layer's values are taken from.

    Attributes:
        module: they are what it takes or gives in its last call.
        taken: whether its input counts, as of a block's last ReLU; else its output.
        end: the module behind which nothing more is needed.
    """

    module: nn.Module
    taken: bool
    end: nn.Module


def available_layers(model: nn.Module) -> list[str]:
    """Names of all residual blocks of a ResNet (or of a `Standardized` one), from the input to the output.

    Each may also be asked for with `-RMAC` behind its name. Of networks of other kinds none.
    """
    net = getattr(model, "net", model)
    names = []
    stage = 2
    while isinstance(blocks := getattr(net, f"layer{stage - 1}", None), nn.Sequential):
        if not all(map(last_relu, blocks)):
            return []
        names += [f"conv_{stage}_{block}" for block in range(1, len(blocks) + 1)]
        stage += 1
    return names


def default_layers(model: nn.Module) -> list[str]:
    """The paper's choice at any depth: the last block of stages 2 to 4, and the first of stage 5."""
    last: dict[int, str] = {}
    for name in available_layers(model):
        stage, block = parse_layer(name).block or (0, 0)
        if stage < 5 or block == 1:
            last[stage] = name
    return list(last.values())


def find_tap(model: nn.Module, layer: str) -> Tap:
    """Where a layer's values are taken from; which network its name says is not looked at.

    Raises ConfigError for a layer that the model lacks.
    """
    net, asked = getattr(model, "net", model), parse_layer(layer)
    if asked.block:
        if asked.module not in (allowed := available_layers(model)):
            raise ConfigError(f"layer {layer!r}: not in {_name(model)}; allowed: {', '.join(allowed) or 'none'}")
        stage, number = asked.block
        block = getattr(net, f"layer{stage - 1}")[number - 1]
        module: Any = last_relu(block)
        return Tap(module, taken=True, end=block)
    modules = dict(net.named_modules())
    if asked.module not in modules:
        near = get_close_matches(asked.module, modules, n=SHOWN, cutoff=0.5)
        raise ConfigError(f"layer {layer!r}: no module of {_name(model)}; allowed: {_listed(near, net)}")
    return Tap(modules[asked.module], taken=False, end=modules[asked.module])


def last_relu(block: nn.Module) -> nn.Module | None:
    """The activation behind the sum of residual and shortcut: torchvision's name, or timm's of either kind of block."""
    return next(
        (found for name in ("relu", "act3", "act2") if isinstance(found := getattr(block, name, None), nn.Module)), None
    )


def prefix_tokens(model: nn.Module) -> int:
    """Tokens before those of the patches in a transformer: as timm counts them, or one class token."""
    net = getattr(model, "net", model)
    return int(getattr(net, "num_prefix_tokens", 1))


def record(tap: Tap, keep: Callable[[Tensor], object]) -> RemovableHandle:
    """A hook that hands over the values of every call of a tap's module; the last ones count."""

    def before(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        keep(arguments[0])

    def after(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        # A copy: what follows may write over it.
        keep((output if isinstance(output, Tensor) else output[0]).clone())

    return tap.module.register_forward_pre_hook(before) if tap.taken else tap.module.register_forward_hook(after)


def _name(model: nn.Module) -> str:
    return getattr(model, "architecture", type(model).__name__)


def _listed(names: list[str], net: nn.Module) -> str:
    return ", ".join(names or [name for name, _ in net.named_children()][:SHOWN]) or "none"
