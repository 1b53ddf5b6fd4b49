"""Folds batch norms into the convolutions before them: the same function in eval mode, in fewer passes over memory."""

from collections.abc import Iterator
from copy import deepcopy
from typing import TypeVar

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nndefense.core.memory import is_out_of_memory

Network = TypeVar("Network", bound=nn.Module)


def fold_batch_norms(model: Network) -> Network:
    """A copy in which convolutions have taken over the batch norms that alone use their output.

    Module names stay as they are (a folded batch norm becomes the identity), so features are found as before. Outputs
    and input gradients agree with those of the model up to rounding. The copy of a model in training mode, or of one
    whose forward pass torch.fx cannot follow, is unchanged.
    """
    folded = deepcopy(model)
    try:
        pairs = [] if model.training else list(_pairs(model))
    except Exception as error:  # what tracing raises depends on the user's code
        if is_out_of_memory(error):
            raise
        pairs = []
    for conv, norm in pairs:
        before, after = folded.get_submodule(conv), folded.get_submodule(norm)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        folded.set_submodule(conv, fuse_conv_bn_eval(before, after))
        folded.set_submodule(norm, nn.Identity())
    return folded


def _pairs(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of convolutions and of the batch norms that they alone feed, each called once."""
    graph = fx.symbolic_trace(model).graph
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(model.get_submodule(str(node.target)), nn.BatchNorm2d):
            continue
        before = node.args[0]
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        once = calls.count(before.target) == 1 and calls.count(node.target) == 1
        if once and isinstance(model.get_submodule(str(before.target)), nn.Conv2d):
            norm = model.get_submodule(str(node.target))
            if norm.track_running_stats:
                yield str(before.target), str(node.target)
